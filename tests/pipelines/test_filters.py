"""Filters of any source: shapes, lengths and scripts of prompts, cleaning."""

import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines import inspect
from tests.pipelines.conftest import (
    encode,
    encode_pillow,
    make_row,
    write_csv,
    write_source,
)
from tests.pipelines.samples import picture, write_embedded, write_tar
from tests.pipelines.test_advice import warnings_of
from tests.pipelines.test_convert import read_all
from tests.pipelines.test_write_records import errors_of, run

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")


def write_sidecars(root, prompts, sizes=()):
    root.mkdir(parents=True, exist_ok=True)
    for index, prompt in enumerate(prompts):
        size = sizes[index] if sizes else (40, 40)
        (root / f"{index}.png").write_bytes(encode_pillow(picture(index, size)))
        (root / f"{index}.txt").write_text(prompt, encoding="utf-8")
    return root


def records_of(output):
    found = [r for of_split in read_all(output).values() for r in of_split]
    return {r["image_id"].decode(): r for r in found}


def stats_of(output):
    return json.loads((output / "stats.json").read_text())


@pytest.mark.parametrize(
    "aspect, kept", [(None, 2), ("crop", 2), ("pad", 2), ("skip", 1)]
)
def test_aspect_says_what_becomes_of_wide_images(tmp_path, aspect, kept, capsys):
    source = write_sidecars(tmp_path / "in", ["a cat", "a dog"], [(40, 40), (80, 40)])
    flags = ("--aspect", aspect) if aspect else ()
    assert run(source, tmp_path / "out", *flags) == 0
    stats = stats_of(tmp_path / "out")
    assert sum(stats["examples"].values()) == kept
    assert stats["dropped"]["not_square"] == 2 - kept
    assert stats["flags"]["aspect"] == aspect or "crop"
    if aspect == "skip":
        return
    wide = tf.io.decode_jpeg(records_of(tmp_path / "out")["1.png"]["image"]).numpy()
    assert wide.shape == (16, 16, 3)
    # Twice as wide as high: a quarter of black above and below.
    is_black = bool(wide[:3].max() < 40 and wide[-3:].max() < 40)
    assert is_black == (aspect == "pad") and wide[5:11].max() > 60


@pytest.mark.parametrize(
    "aspect, kept", [(None, 1), ("crop", 2), ("pad", 2), ("skip", 1)]
)
def test_aspect_goes_before_square_of_diffusiondb(tmp_path, aspect, kept):
    rows = [make_row("a.png", "a cat"), make_row("b.png", "a dog", width=80)]
    members = {"a.png": encode(), "b.png": encode((80, 40))}
    source = write_source(tmp_path / "in", rows, members)
    flags = ("--aspect", aspect) if aspect else ()
    assert run(source, tmp_path / "out", *flags) == 0
    assert sum(stats_of(tmp_path / "out")["examples"].values()) == kept


def test_over_half_dropped_is_warned_of(tmp_path, capsys):
    sizes = [(40, 40), (80, 40), (40, 80)]
    source = write_sidecars(tmp_path / "in", ["a cat", "a dog", "a fox"], sizes)
    assert run(source, tmp_path / "out", "--aspect", "skip") == 0
    (line,) = [line for line in warnings_of(capsys) if "dropped" in line]
    assert "2 of 3 rows were dropped, 2 as not square: --aspect crop" in line


def test_settings_inside_images_are_filtered_by(tmp_path, capsys):
    source = write_embedded(tmp_path / "in")
    (source / "photo.png").write_bytes(encode_pillow(picture(9)))
    assert run(source, tmp_path / "out", "--min-step", "21") == 2
    assert "few_steps 8" in errors_of(capsys)[-1]
    assert run(source, tmp_path / "out", "--max-reject-rate", "0.2") == 0
    stats = stats_of(tmp_path / "out")
    assert stats["rejected"]["no_prompt"] == 1 and stats["dropped"]["few_steps"] == 0


def test_short_prompts_and_other_scripts_are_dropped(tmp_path, capsys):
    prompts = [
        "a red cat",
        "cat",
        "猫の絵と北斎",
        "рыжий кот на крыше",
        "a mill by a river",
    ]
    source = write_sidecars(tmp_path / "in", prompts)
    assert run(source, tmp_path / "all") == 0
    assert stats_of(tmp_path / "all")["prompts"] == {"without_spaces": 1}
    assert "--scripts latin drops them" in warnings_of(capsys)[-1]
    flags = ("--scripts", "latin", "--min-words", "3")
    assert run(source, tmp_path / "out", *flags) == 0
    dropped = stats_of(tmp_path / "out")["dropped"]
    assert dropped["other_script"] == 1 and dropped["few_words"] == 2
    assert sorted(records_of(tmp_path / "out")) == ["0.png", "4.png"]
    # And the same numbers from inspect.
    argv = ["--source", str(source), "--output", str(tmp_path / "page"), *flags]
    assert inspect.main([*argv, "--processes", "1"]) == 0
    summary = json.loads((tmp_path / "page" / "summary.json").read_text())
    assert summary["rows"] == {"before": 5, "after": 2}
    assert summary["filters"]["few_words"]["first"] == 2
    assert summary["filters"]["other_script"]["rows"] == 2
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Overlap of the 6 filters" in page


@pytest.mark.parametrize("flag", ["--clean-prompts", "--no-clean-prompts", None])
def test_new_sources_are_cleaned_and_old_ones_are_not(tmp_path, flag):
    prompt = "a (red:1.2) cat, <lora:x:1>"
    members = {"1.png": encode(), "1.txt": prompt.encode()}
    write_tar(tmp_path / "new.tar", members)
    (tmp_path / "1.png").write_bytes(encode())
    write_csv(tmp_path / "old.csv", [("file", "prompt"), ("1.png", prompt)])
    for name, by_itself in (("new.tar", True), ("old.csv", False)):
        out = tmp_path / f"out-{name}"
        assert run(tmp_path / name, out, *filter(None, [flag])) == 0
        (record,) = records_of(out).values()
        cleans = by_itself if flag is None else flag == "--clean-prompts"
        assert record["prompt"].decode() == ("a red cat" if cleans else prompt)
        words = ["a", "red", "cat"] if cleans else ["a", "cat", "lora"]
        assert [w.decode() for w in record["words"]][:3] == words
        stats = stats_of(out)
        assert stats.get("prompts") == ({"cleaned": 1} if cleans else None)
        assert ("clean_prompts" in stats["flags"]) == cleans


def test_one_prompt_in_two_spellings_lies_in_one_split(tmp_path):
    draw = np.random.default_rng(0)
    words = "fox mill dawn oil sea tower robot neon".split()
    prompts = [" ".join(draw.choice(words, 3, replace=False)) for _ in range(20)]
    prompts += [f"({prompt}:1.3), <lora:x:1>" for prompt in prompts]
    source = write_sidecars(tmp_path / "in", prompts)
    run(source, tmp_path / "out", "--validation", "0.3", "--test", "0.3")
    splits = {}
    for split, records in read_all(tmp_path / "out").items():
        for record in records:
            splits.setdefault(record["prompt"], set()).add(split)
    assert all(len(found) == 1 for found in splits.values())
    assert len(set().union(*splits.values())) == 3
