import html.parser
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from pipelines import inspect
from pipelines.exploration import counts, plots
from pipelines.exploration.table import open_table
from pipelines.options import FILTERS
from pipelines.scripts import find_script
from pipelines.words import join_words
from tests import checks
from tests.pipelines.conftest import (
    TYPES,
    encode,
    make_row,
    write_csv,
    write_metadata,
    write_source,
)
from tf_prompt.data.keywords import find_artists
from tf_prompt.data.text import normalise

LONG = " ".join(["word"] * 31)
SCRIPT = "<script>alert('cat')</script>"


@pytest.fixture
def few_rows(tmp_path):
    """Metadata alone: eight rows, which a reader can count."""
    square, wide = {"width": 64, "height": 64}, {"width": 96, "height": 64}
    rows = [
        make_row("a", "A cat by Monet", **square),
        make_row("b", "a cat, by monet!", **square),
        make_row("c", "A cat by Monet", **square),
        make_row("d", LONG, **square),
        make_row("e", "123 !", **square),
        make_row("f", "a castle", **wide),
        make_row("g", "a castle", **wide, image_nsfw=2.0, step=9),
        make_row("h", "кот", **square, cfg=-1.0, step=5),
    ]
    table = pd.DataFrame(rows).astype(TYPES)
    day = pd.Timestamp("2022-08-06T10:00Z")
    hours = pd.to_timedelta([0, 1, 2, 3, 4, 5, 6, 24], "h")
    table = table.assign(sampler=[8] * 6 + [1, 42], seed=7, timestamp=day + hours)
    (tmp_path / "few").mkdir()
    table.to_parquet(tmp_path / "few" / "metadata.parquet")
    return tmp_path / "few"


def run(source, output, *flags):
    """Runs the command in this process; reads what it wrote."""
    argv = ["--source", str(source), "--output", str(output), "--processes", "1"]
    assert inspect.main([*argv, *flags]) == 0
    return json.loads((output / "summary.json").read_text(encoding="utf-8"))


def explore(source, **options):
    """Counts as the command does, without drawing."""
    config = inspect.InspectConfig(
        source=str(source), output="unused", processes=1, **options
    )
    return json.loads(json.dumps(inspect.explore(open_table(source), config)))


def counts_of(entries):
    """A list of values as value to numbers before and after."""
    return {entry["value"]: (entry["before"], entry["after"]) for entry in entries}


def test_rows_and_prompts_are_counted_before_and_after(few_rows):
    summary = explore(few_rows)
    assert summary["rows"] == {"before": 8, "after": 5}
    prompts = summary["prompts"]
    assert prompts["raw"] == {"before": 6, "after": 4}
    # Without the one that has no words, and two spellings of the first are one.
    assert prompts["normalised"] == {"before": 4, "after": 2}
    assert prompts["without_words"] == {"before": 1, "after": 1}
    duplicates = prompts["duplicates"]
    assert duplicates["groups"] == {"before": 2, "after": 1}
    assert duplicates["images"] == {"before": 5, "after": 3}
    assert duplicates["biggest"] == [
        {"prompt": "A cat by Monet", "spellings": 2, "before": 3, "after": 3},
        {"prompt": "a castle", "spellings": 1, "before": 2, "after": 0},
    ]


def test_lengths_are_those_before_the_cut(few_rows):
    lengths = explore(few_rows)["lengths"]
    assert lengths["max_words"] == 30
    assert lengths["cut"] == {"before": 1, "after": 1}
    assert counts_of(lengths["images"]) == {
        0: (1, 1),
        1: (1, 0),
        2: (2, 0),
        4: (3, 3),
        31: (1, 1),
    }
    # (0 + 1 + 2 + 2 + 4 + 4 + 4 + 31) / 8 and (0 + 4 + 4 + 4 + 31) / 5.
    assert lengths["mean"] == {"before": 6.0, "after": 8.6}
    assert lengths["median"] == {"before": 2, "after": 4}


def test_filters_overlap(few_rows):
    summary = explore(few_rows)
    filters = {
        n: (d["rows"], d["first"], d["only"]) for n, d in summary["filters"].items()
    }
    assert filters == {
        "not_square": (2, 2, 1),
        "blurred": (1, 0, 0),
        "low_cfg": (1, 1, 0),
        "few_steps": (2, 0, 0),
    }
    exact = {tuple(o["filters"]): o["rows"] for o in summary["overlaps"]["exact"]}
    assert exact == {
        ("not_square",): 1,
        ("not_square", "blurred", "few_steps"): 1,
        ("low_cfg", "few_steps"): 1,
    }
    pairs = {tuple(o["filters"]): o["rows"] for o in summary["overlaps"]["pairs"]}
    assert pairs == {
        ("not_square", "blurred"): 1,
        ("not_square", "low_cfg"): 0,
        ("not_square", "few_steps"): 1,
        ("blurred", "low_cfg"): 0,
        ("blurred", "few_steps"): 1,
        ("low_cfg", "few_steps"): 1,
    }


def test_filters_that_are_off_drop_nothing(few_rows):
    summary = explore(
        few_rows, square=False, drop_blurred=False, min_cfg=-2.0, min_step=6
    )
    assert summary["rows"] == {"before": 8, "after": 7}
    states = [drop["state"] for drop in summary["filters"].values()]
    assert states == ["off", "off", "on", "on"]


def test_words_categories_artists_and_scripts(few_rows):
    summary = explore(few_rows)
    words = counts_of(summary["words"]["top"])
    assert words["cat"] == (3, 3) and words["a"] == (5, 3) and words["word"] == (1, 1)
    # a, cat, by, monet, word; castle and кот are dropped.
    assert summary["words"]["distinct"] == {"before": 7, "after": 5}
    assert counts_of(summary["subjects"]) == {
        "animals": (3, 3),
        "none of these": (3, 2),
        "architecture": (2, 0),
    }
    assert counts_of(summary["artists"]) == {"monet": (3, 3)}
    assert counts_of(summary["scripts"]) == {
        "latin": (6, 4),
        "no letters": (1, 1),
        "cyrillic": (1, 0),
    }


def test_columns_are_counted(few_rows):
    summary = explore(few_rows)
    assert counts_of(summary["sizes"]["top"]) == {"64 x 64": (6, 5), "96 x 64": (2, 0)}
    assert counts_of(summary["samplers"]["top"]) == {
        "k_lms": (6, 5),
        "ddim": (1, 0),
        "number 42": (1, 0),
    }
    assert counts_of(summary["cfg"]["top"]) == {"7": (7, 5), "-1": (1, 0)}
    assert counts_of(summary["step"]["top"]) == {"50": (6, 5), "5": (1, 0), "9": (1, 0)}
    days = {"2022-08-06": (7, 5), "2022-08-07": (1, 0)}
    assert counts_of(summary["days"]["top"]) == days
    assert summary["seeds"] == {"before": 1, "after": 1}


def test_each_filter_is_judged_by_its_own_columns():
    assert tuple(counts.FILTER_COLUMNS) == FILTERS
    rows = pd.DataFrame({"cfg": [np.nan, -1.0], "step": [9.0, np.nan]})
    drops = counts.judge_rows(rows, inspect.Filters(), {})
    np.testing.assert_array_equal(drops, [[0, 0, 0, 1], [0, 0, 1, 0]])


def test_only_parts_that_are_there_are_counted(source_2m):
    (source_2m / "images" / "part-000002.zip").unlink()
    assert explore(source_2m)["rows"]["before"] == 12


def test_archives_without_metadata_give_what_their_json_has(source_2m):
    (source_2m / "metadata.parquet").unlink()
    summary = explore(source_2m)
    assert summary["rows"] == {"before": 18, "after": 18}
    assert summary["filters"]["not_square"]["state"] == "not in this source"
    assert counts_of(summary["step"]["top"]) == {"50": (18, 18)}
    assert summary["sizes"] is None and summary["samplers"] is None


def test_kaggle_has_no_metadata(source_kaggle, tmp_path):
    summary = run(source_kaggle, tmp_path / "out", "--images")
    states = {drop["state"] for drop in summary["filters"].values()}
    assert states == {"not in this source"}
    assert summary["images"]["files"] == 2
    assert summary["images"]["sizes"] == [{"value": "40 x 40", "images": 2}]
    assert summary["images"]["formats"] == [{"value": "PNG", "images": 2}]
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("Not in this source") == 6


def test_headers_tell_what_is_wrong(tmp_path):
    members = {
        "a.png": encode((40, 40)),
        "b.png": encode((60, 40), encoding="JPEG"),
        "c.png": b"broken",
        "e.png": encode((40, 40), encoding="WEBP"),
    }
    rows = [make_row(f"{name}.png", f"a {name}") for name in "abcd"]
    source = write_source(tmp_path / "in", rows, members)
    images = explore(source, images=True)["images"]
    assert images == {
        "files": 4,
        "formats": [{"value": n, "images": 1} for n in ("JPEG", "PNG", "WEBP")],
        "sizes": [
            {"value": "40 x 40", "images": 2},
            {"value": "60 x 40", "images": 1},
        ],
        "not_square": 1,
        "unreadable": 1,
        "unreadable_examples": ["c.png"],
        "rows_without_image": 1,
        "images_without_row": 1,
        "other_size": 1,
    }


class Tags(html.parser.HTMLParser):
    """Lists the tags of a page and what they load."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.sources = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href")]


def test_page_escapes_prompts_and_loads_nothing(tmp_path):
    table = [("file", "prompt"), ("a.png", SCRIPT), ("b.png", SCRIPT)]
    table += [("c.png", "$x$ by <b>$_{</b>"), ("d.png", "猫の絵 by 北斎 & <i>")]
    write_csv(tmp_path / "<b>.csv", table)
    run(tmp_path / "<b>.csv", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert not tags.tags & {"script", "b", "i", "link"}
    assert all(source.startswith(("#", "data:")) for source in tags.sources)
    assert "&lt;script&gt;alert(&#x27;cat&#x27;)" in page


def test_a_second_run_replaces_its_own_files_only(few_rows, source_kaggle, tmp_path):
    out = tmp_path / "out"
    run(few_rows, out)
    (out / "plots" / "mine.png").touch()
    assert {path.stem for path in (out / "plots").iterdir()} == (
        {*plots.NAMES, "mine"} - {"files"}
    )
    run(source_kaggle, out)
    names = {path.stem for path in (out / "plots").iterdir()}
    assert names == {"mine", "lengths", "subjects", "media", "words"}
    names = sorted(path.name for path in out.iterdir())
    assert names == ["index.html", "plots", "summary.json"]


def test_nothing_kept_is_no_error(few_rows, tmp_path, capsys):
    summary = run(few_rows, tmp_path / "out", "--min-step", "1000")
    assert summary["rows"]["after"] == 0
    assert summary["lengths"]["mean"]["after"] is None
    assert capsys.readouterr().out.split()[:5] == ["before", "after", "rows", "8", "0"]


def test_unknown_values_are_counted(tmp_path):
    unknown = {"width": [64, None], "height": [64, 64], "sampler": [8, None]}
    table = pd.DataFrame(
        {"prompt": ["1", None], "part_id": 1, "seed": [1, None], **unknown}
        | {"timestamp": [None, pd.Timestamp("2022-08-06", tz="UTC")]}
    )
    table.to_parquet(tmp_path / "metadata.parquet")
    summary = run(tmp_path, tmp_path / "out", "--no-square")
    assert summary["rows"] == {"before": 2, "after": 2}
    assert counts_of(summary["sizes"]["top"]) == {"64 x 64": (1, 1)}
    assert counts_of(summary["samplers"]["top"]) == {"k_lms": (1, 1)}
    for name in ("sizes", "samplers", "days"):
        assert summary[name]["unknown"] == {"before": 1, "after": 1}
    assert summary["words"]["top"] == [] and summary["artists"] == []
    assert summary["prompts"]["normalised"] == {"before": 0, "after": 0}


@pytest.mark.parametrize(
    "prompt, artists",
    [
        (
            "art by Greg Rutkowski and Alphonse Mucha, 8k",
            {"greg rutkowski", "alphonse mucha"},
        ),
        ("a cat in the style of van Gogh trending on artstation", {"van gogh"}),
        ("style of H.P. Lovecraft", {"h.p. lovecraft"}),
        ("a cat by monet. a dog", {"monet"}),
        ("a house by the sea", set()),
        ("by one two three four five", set()),
    ],
)
def test_artists_follow_by(prompt, artists):
    assert find_artists(prompt) == artists


@pytest.mark.parametrize(
    "prompt, script",
    [
        ("cat", "latin"),
        ("ｃａｔ", "latin"),
        ("кот cat кот", "cyrillic"),
        ("42", "no letters"),
    ],
)
def test_script_is_that_of_most_letters(prompt, script):
    assert find_script(prompt) == script


@pytest.mark.slow
def test_processes_give_the_words_in_order(monkeypatch):
    monkeypatch.setattr("pipelines.words._CHUNK", 2)
    prompts = ["A cat.", "", "two  dogs, 3!", "château", "x"]
    expected = [normalise(prompt, None) for prompt in prompts]
    assert list(join_words(prompts, 1)) == expected
    assert list(join_words(prompts, 2)) == expected


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--source", "missing"],
            "source must be a folder or a file. Received: missing",
        ),
        (["--source", "empty"], "source must be DiffusionDB"),
        (["--source", "two"], "one metadata file"),
        (["--source", "bad"], "metadata must be DiffusionDB's parquet"),
        (["--source", "none"], "source must have rows"),
        (["--source", "alone", "--images"], "images must be off for metadata alone"),
        (["--source", "alone", "--processes", "0"], "processes must be positive"),
        (["--source", "alone", "--output", "file"], "output must be a folder"),
        (["--source", "alone", "--squares"], "unrecognized"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "two", "bad", "alone"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    row = make_row("a.png", "a")
    for path in ("two/metadata.parquet", "two/metadata-large.parquet"):
        write_metadata(tmp_path / path, [row])
    write_metadata(tmp_path / "alone" / "metadata.parquet", [row])
    (tmp_path / "bad" / "metadata.parquet").write_bytes(b"PAR1")
    other = make_row("a.png", "a", part_id=9)
    write_source(tmp_path / "none", [other], {"a.png": encode()})
    code = checks.exit_code(inspect.main, ["--output", "out", *flags])
    assert code == 2
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    (line,) = [line for line in lines if line.startswith("inspect: error:")]
    assert message in line


@pytest.mark.slow
def test_command_runs_from_a_checkout(few_rows, tmp_path):
    argv = ["--source", str(few_rows), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "pipelines.inspect", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].split() == ["rows", "8", "5"]
    assert "100%" in done.stderr and "Traceback" not in done.stderr


def test_help_imports_nothing_heavy():
    code = "import sys, pipelines.inspect; print('pandas' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, text=True).strip() == "False"


@pytest.mark.parametrize(
    "folder, rows, kept", [("diffusiondb-2m-mini", 160, 132), ("kaggle", 7, 7)]
)
def test_real_sources(real_data, folder, rows, kept):
    summary = explore(real_data / folder, images=True)
    assert summary["rows"] == {"before": rows, "after": kept}
    assert summary["images"]["files"] == rows
    assert not summary["images"]["unreadable"] and not summary["images"]["other_size"]
