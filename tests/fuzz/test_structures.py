"""Properties of what is built by rules: any text, any JSON, any name in an archive."""

import csv
import json
import math
import pathlib
import time
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines import containers, tally
from tests.fuzz.outcomes import COUNTS, outcome_of
from tf_prompt.data import keywords, records, text
from tf_prompt.evaluation import prediction_log
from tf_prompt.inference import image_batches, result_files
from tf_prompt.interrogation import phrases
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.json_options import from_json

EFFORTS = [60, pytest.param(4_000, marks=pytest.mark.fuzz)]
ANY_TEXT = st.text(st.characters(), max_size=200)
# What UTF-8 can hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=10,
)


def try_all(name, strategy, check, effort):
    """Runs a check on drawn values, the same ones each time."""

    @hypothesis.settings(
        max_examples=effort,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def run(value):
        COUNTS[name] += 1
        check(value)

    run()


@pytest.mark.parametrize("effort", EFFORTS)
def test_any_text_is_split_into_words(effort):
    def check(prompt):
        words = text.split_words(prompt, max_words=None)
        assert text.split_words(prompt) == words[: text.MAX_WORDS]
        for word in words:
            assert word == word.lower() and not any(c.isspace() for c in word)
        phrases.find_phrases(prompt)
        keywords.find_artists(prompt)

    try_all("any text", ANY_TEXT, check, effort)


LONG = {
    "words": "masterpiece " * 10_000,
    "no spaces": "a" * 100_000,
    "dots": "a." * 50_000,
    "only dots": "." * 100_000,
    "quotes": "'\"`" * 30_000,
    "brackets": "((((" * 20_000,
    "spaces": " " * 100_000 + "x",
    "lines": "\n" * 100_000 + "x",
    "right to left": "شجرة حمراء ، " * 10_000,
    "emoji": "\U0001f98a\u200d\U0001f469\U0001f3fd" * 20_000,
    "marks": "e" + "\u0301" * 50_000,
    "by": "by " * 30_000,
    "of": "oil painting of " * 10_000,
    "null": "a\x00b " * 20_000,
    "surrogates": "\ud800\udfff" * 20_000,
}


@pytest.mark.parametrize("name", LONG)
def test_long_prompts_take_no_more_than_their_share(name):
    """Of 100,000 characters: seconds would be a rule that goes back and back."""
    started = time.process_time()
    COUNTS["long prompts"] += 1
    assert len(text.split_words(LONG[name])) <= text.MAX_WORDS
    phrases.find_phrases(LONG[name])
    assert time.process_time() - started < 5


@pytest.mark.parametrize("effort", EFFORTS)
def test_options_from_any_json(effort):
    names = st.sampled_from(
        ["epochs", "learning_rate", "members", "flip", "set", "ema"]
    )
    hints = {"epochs": int | None, "members": tuple, "flip": bool | None, "ema": float}

    def check(content):
        def read():
            found = from_json(FitConfig, content, "config.json")
            for name, hint in hints.items():
                assert isinstance(getattr(found, name), hint | int)
            assert found.learning_rate is None or math.isfinite(found.learning_rate)
            json.dumps(found.__dict__)

        outcome_of("options", read)

    try_all("any json", st.dictionaries(names, JSON, max_size=3) | JSON, check, effort)


@pytest.mark.parametrize("effort", EFFORTS)
def test_any_prompt_survives_a_record(effort):
    def check(prompt):
        words = text.split_words(prompt)
        record = records.Record("x.png", b"\x00\xff", prompt, words)
        read = records.parse(records.serialise(record))
        assert read["prompt"].numpy().decode() == prompt
        assert [word.decode() for word in read["words"].numpy()] == words

    try_all("records", TEXT, check, effort // 4)


@pytest.mark.parametrize("effort", EFFORTS)
def test_any_prompt_survives_predictions(effort, tmp_path):
    def check(prompts):
        folder = tmp_path / "evaluation"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        rows = [
            dict(zip(prediction_log.COLUMNS, ("x", p, p, -1.0, True, p), strict=True))
            for p in prompts
        ]
        with prediction_log.open_log(folder, {"number": len(rows)}) as log:
            log.add(rows)
        assert prediction_log.read_predictions(folder) == rows
        # The same command again: all is done.
        with prediction_log.open_log(folder, {"number": len(rows)}) as log:
            assert log.num_done == len(rows)

    try_all("predictions", st.lists(TEXT, max_size=3), check, effort)


@pytest.mark.parametrize("as_json", [True, False], ids=["jsonl", "csv"])
@pytest.mark.parametrize("effort", EFFORTS)
def test_any_name_survives_an_interrupted_table(effort, as_json, tmp_path):
    """Also names with U+2028 or U+0085, at which `splitlines` breaks."""
    path = tmp_path / "table"

    def check(names):
        for rest in tmp_path.iterdir():
            rest.unlink()
        with pytest.raises(KeyboardInterrupt):
            with result_files.open_table(path, {}, as_json) as table:
                for name in names:
                    table.add([{"path": name, "prompt": name, "score": -1.0}])
                raise KeyboardInterrupt
        with result_files.open_table(path, {}, as_json) as table:
            assert table.done == set(names)
        if not as_json:
            with open(path, newline="", encoding="utf-8") as file:
                assert [row["prompt"] for row in csv.DictReader(file)] == names

    names = st.lists(TEXT.filter(bool), max_size=3, unique=True)
    try_all("interrupted tables", names, check, effort)


@pytest.mark.parametrize("effort", EFFORTS)
def test_no_member_that_is_read_lies_outside(effort):
    pieces = st.sampled_from(["..", ".", "/", "\\", "a", "C:", "~", "", "\u202e", "//"])
    sizes = st.integers(0, 2**40)

    def check(drawn):
        name, size, packed = drawn
        member = zipfile.ZipInfo(name)
        member.file_size, member.compress_size = size, packed
        if containers._is_safe(member):
            place = pathlib.PurePosixPath("/root", name.replace("\\", "/"))
            assert ".." not in place.parts and place.is_relative_to("/root")
            assert size <= containers.MAX_MEMBER_SIZE
            assert size <= max(containers.HARMLESS_SIZE, 100 * max(1, packed))

    names = st.lists(pieces, max_size=6).map("".join)
    try_all("member names", st.tuples(names, sizes, sizes), check, effort)


@pytest.mark.parametrize("effort", EFFORTS)
def test_only_finite_embeddings_are_taken(effort):
    shapes = st.sampled_from([(2, 384), (1, 384), (2, 383), (384,), (0, 384), ()])
    kinds = st.sampled_from(["f2", "f4", "f8", "i8", "c8", "U3", "?", "O"])
    floats = arrays.arrays(
        "f4", (2, 384), elements=st.floats(width=32), fill=st.just(1)
    )
    others = st.tuples(shapes, kinds).map(lambda drawn: np.zeros(*drawn))

    def check(embeddings):
        def take():
            taken = image_batches.check_embeddings(embeddings, ["a", "b"], "x")
            assert taken.shape == (2, 384) and np.isfinite(taken).all()

        outcome_of("embeddings", take)

    try_all("arrays", floats | others, check, effort)


@pytest.mark.parametrize("effort", EFFORTS)
def test_any_name_can_be_counted_as_lost(effort):
    def check(names):
        counts = tally.Tally()
        for name in names:
            counts.lose("undecodable_image", name)
        json.dumps(counts.as_json(), ensure_ascii=False).encode()

    names = st.lists(ANY_TEXT | st.just("\udcff.png"), max_size=7)
    try_all("lost names", names, check, effort)
