"""A split that came out empty is said when it is written, with flags that help."""

import dataclasses
import hashlib
import json
import re

import pandas as pd
import pytest

from pipelines import convert, sources
from pipelines.options import Conversion
from tests.pipelines.conftest import encode, write_csv
from tests.pipelines.test_convert import contents, convert_all
from tests.pipelines.test_write_records import run
from tf_prompt.data import images
from tf_prompt.data.text import MAX_WORDS

SEVEN = "a red cat|a blue dog|the old mill|green sea|a tower|neon city|snow".split("|")

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")


def write_source(tmp_path, prompts):
    rows = [(f"{index}.png", prompt) for index, prompt in enumerate(prompts)]
    for name, _ in rows:
        (tmp_path / name).write_bytes(encode())
    write_csv(tmp_path / "my.csv", [("file", "prompt"), *rows])
    return tmp_path / "my.csv"


def warnings_of(capsys):
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    return [line for line in lines if line.startswith("warning: ")]


def examples_of(output):
    return json.loads((output / "stats.json").read_text())["examples"]


@pytest.mark.parametrize("num_prompts", [3, 4, 7])
def test_few_prompts_get_the_flags_that_fill_each_split(tmp_path, capsys, num_prompts):
    source, out = write_source(tmp_path, SEVEN[:num_prompts]), tmp_path / "out"
    assert run(source, out) == 0
    empty = [split for split, count in examples_of(out).items() if not count]
    (line,) = warnings_of(capsys)
    assert empty and f"warning: {' and '.join(empty)} " in line
    assert f"{num_prompts} different prompts went by a hash" in line
    # The very flags that it names, in the same folder.
    flags = re.search(r"write again with (.*)", line)[1].split()
    assert run(source, out, *flags) == 0
    assert all(examples_of(out).values()) and not warnings_of(capsys)
    assert examples_of(out)["train"] >= num_prompts / 3


@pytest.mark.parametrize(
    "prompts, said",
    [
        (["a red cat"] * 30, "all 30 records have one prompt, and one split takes all"),
        (
            ["a red cat", "A red cat!", "a mill"],
            "all 3 records have 2 different prompts",
        ),
    ],
)
def test_too_few_prompts_for_any_shares_are_said_to_be(tmp_path, capsys, prompts, said):
    assert run(write_source(tmp_path, prompts), tmp_path / "out") == 0
    (line,) = warnings_of(capsys)
    assert said in line and "add pictures of other prompts" in line
    assert "--validation" in line


def test_a_split_that_was_given_no_share_is_not_missed(tmp_path, capsys):
    source, out = write_source(tmp_path, SEVEN), tmp_path / "out"
    assert run(source, out, "--test", "0", "--validation", "0.5") == 0
    assert all(examples_of(out)[split] for split in ("train", "validation"))
    assert not warnings_of(capsys) and examples_of(out)["test"] == 0


def test_groups_are_not_taken_for_prompts(tmp_path, capsys):
    # One picture has both, so they go where neither would go alone.
    source = write_source(tmp_path, SEVEN)
    rows = [("0.png", prompt) for prompt in SEVEN]
    write_csv(source, [("file", "prompt"), *rows])
    assert run(source, tmp_path / "out") == 0
    assert "or groups of them, are few" in warnings_of(capsys)[-1]


def test_an_empty_split_of_a_fold_is_not_filled_by_other_folds(tmp_path, capsys):
    source = write_source(tmp_path, SEVEN[:3])
    assert run(source, tmp_path / "out", "--fold", "0/9") == 0
    (line,) = warnings_of(capsys)
    assert line.endswith("may help, such as --validation 0.2, or fewer folds")


def test_all_rows_in_validation_leave_train_empty(tmp_path, capsys):
    out = tmp_path / "out"
    assert run(write_source(tmp_path, SEVEN), out, "--validation", "0.94") == 0
    line = warnings_of(capsys)[-1]
    assert "train" in line and examples_of(out)["train"] == 0
    assert "--validation 0." in line


def test_shares_by_default_leave_no_trace(source_2m, tmp_path):
    """Or what earlier versions finished would be done again."""
    earlier = {
        "square": True,
        "drop_blurred": True,
        "min_cfg": 0.0,
        "min_step": 10,
        "image_size": 16,
        "max_pixels": 2**26,
    }
    conversion = Conversion(image_size=16, validation=0.05, test=0.05)
    assert conversion.as_json() == earlier
    part = next(sources.open_source(source_2m).parts())
    settings = {**earlier, "jpeg_quality": images.JPEG_QUALITY, "max_words": MAX_WORDS}
    settings["part"] = [part.name, part.size]
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
    digest.update(pd.util.hash_pandas_object(part.rows, index=False).values)
    assert convert.fingerprint(part, conversion) == digest.hexdigest()
    convert_all(source_2m, tmp_path / "one")
    convert_all(source_2m, tmp_path / "two", conversion)
    assert contents(tmp_path / "one").keys() == contents(tmp_path / "two").keys()


@pytest.mark.parametrize("share", ["validation", "test"])
def test_other_shares_are_another_conversion(source_2m, tmp_path, share):
    part = next(sources.open_source(source_2m).parts())
    changed = dataclasses.replace(Conversion(image_size=16), **{share: 0.5})
    assert changed.as_json()[share] == 0.5
    default = Conversion(image_size=16)
    assert convert.fingerprint(part, changed) != convert.fingerprint(part, default)
    (stats, *_) = convert_all(source_2m, tmp_path / "out", changed)
    assert stats["examples"][share] > 1
    assert convert.read_done(part, tmp_path / "out", default) is None
    assert convert.read_done(part, tmp_path / "out", changed) == stats
