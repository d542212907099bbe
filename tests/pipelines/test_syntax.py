"""What prompts say to a program is counted, and warned of where there is much."""

import json

import pytest

from pipelines import convert, sources
from pipelines.syntax import SYNTAX, find_syntax
from pipelines.tally import Tally, sum_stats
from tests.pipelines.conftest import encode, write_csv
from tests.pipelines.test_advice import warnings_of
from tests.pipelines.test_convert import SMALL, convert_all
from tests.pipelines.test_inspect import counts_of
from tests.pipelines.test_inspect import run as run_inspect
from tests.pipelines.test_write_records import run
from tf_prompt.data.records import Record

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")


@pytest.mark.parametrize(
    "prompt, kinds",
    [
        ("a (red:1.2) cat", ["(word:1.2)"]),
        ("((a cat):0.8), (fur: .5 )", ["(word:1.2)"]),
        ("a [red] cat", ["[word]"]),
        ("[cat:dog:0.5] by [monet|manet]", ["[word]"]),
        ("a cat <lora:add_detail:0.8>", ["<lora:name:0.8>"]),
        ("a cat <HyperNet:x:1>", ["<lora:name:0.8>"]),
        ("a cat BREAK a dog", ["BREAK"]),
        ("a cat AND a dog", ["AND"]),
        ("a cat --ar 16:9 --v 5", ["--ar 16:9"]),
        ("a cat —ar 16:9", ["--ar 16:9"]),
        ("--tile a cat", ["--ar 16:9"]),
        ("a cat\nNegative prompt: blurry", ["Negative prompt:"]),
        ("a cat. Steps: 20, Sampler: Euler a, CFG scale: 7", ["Negative prompt:"]),
        (r"cat \(animal\)", [r"\(word\)"]),
        (
            r"(cat:1.1) [old] <lora:x:1> \(y\) --no hands",
            ["(word:1.2)", "[word]", "<lora:name:0.8>", "--ar 16:9", r"\(word\)"],
        ),
    ],
)
def test_each_kind_is_found(prompt, kinds):
    assert find_syntax(prompt) == kinds and set(kinds) <= set(SYNTAX)


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat and a dog, a break in the clouds",
        "A CAT AND A DOG, BREAK OF DAY",
        "portrait (oil on canvas), 16:9 (16:9) (3:2)",
        "a cat :) happy :8) <3, a > b",
        "well-known --- a dash -- and another — here",
        "time: 10:30, breakfast; ANDES, BREAKING",
        "[] [ ] C:\\images",
        "",
    ],
)
def test_descriptions_have_none(prompt):
    assert find_syntax(prompt) == []


def write_source(tmp_path, num_plain, num_odd):
    prompts = [f"a cat number {chr(97 + n % 26)} {n // 26 * 'x'}" for n in range(500)]
    prompts = prompts[:num_plain] + ["a (red:1.2) cat <lora:x:1>"] * num_odd
    (tmp_path / "a.png").write_bytes(encode((8, 8)))
    rows = []
    for index, prompt in enumerate(prompts):
        (tmp_path / f"{index}.png").hardlink_to(tmp_path / "a.png")
        rows.append((f"{index}.png", prompt))
    write_csv(tmp_path / "my.csv", [("file", "prompt"), *rows])
    return tmp_path / "my.csv"


@pytest.mark.parametrize("num_plain, warned", [(99, False), (98, True)])
def test_more_than_one_of_a_hundred_is_warned_of(tmp_path, capsys, num_plain, warned):
    # 1 of 100, and 2 of 100.
    source = write_source(tmp_path, num_plain, 100 - num_plain)
    assert run(source, tmp_path / "out") == 0
    lines = [line for line in warnings_of(capsys) if "syntax" in line]
    assert len(lines) == warned
    if warned:
        assert "2 of 100 prompts (2.0%) hold syntax of A1111" in lines[0]
        assert lines[0].endswith("(word:1.2) 2, <lora:name:0.8> 2")
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    odd = 100 - num_plain
    assert stats["syntax"] == {"any": odd, "(word:1.2)": odd, "<lora:name:0.8>": odd}
    # Parts that are done keep their counts.
    assert run(source, tmp_path / "out") == 0
    assert len([line for line in warnings_of(capsys) if "syntax" in line]) == warned


def test_stats_of_earlier_versions_have_no_counts(tmp_path, source_2m):
    stats = convert_all(source_2m, tmp_path / "out")
    assert all("syntax" not in part for part in stats)
    assert sum_stats(stats).syntax.total() == 0
    tally = Tally()
    for prompt in ("a (red:1.2) cat", "a cat"):
        tally.keep("train", Record("a.png", b"", prompt, ["cat"]))
    total = sum_stats([tally.as_json(), *stats])
    assert total.syntax == {"any": 1, "(word:1.2)": 1}
    (part, *_) = sources.open_source(source_2m).parts()
    path = convert.stats_path(tmp_path / "out", part.index)
    for counts, sound in (({"any": 1}, True), ({"any": "1"}, False), ([], False)):
        path.write_text(json.dumps({**stats[0], "syntax": counts}))
        done = convert.read_done(part, tmp_path / "out", SMALL)
        assert (done is not None) == sound


def test_inspect_counts_each_kind(tmp_path, capsys):
    rows = [("a.png", "a (red:1.2) cat"), ("b.png", "a <lora:x:1> (blue:1.1) dog")]
    write_csv(tmp_path / "my.csv", [("file", "prompt"), *rows, ("c.png", "a mill")])
    summary = run_inspect(tmp_path / "my.csv", tmp_path / "out")
    assert summary["syntax"]["images"] == {"before": 2, "after": 2}
    kinds = counts_of(summary["syntax"]["kinds"])
    assert kinds == {"(word:1.2)": (2, 2), "<lora:name:0.8>": (1, 1)}
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<td>&lt;lora:name:0.8&gt;</td>" in page
    (line,) = [n for n in capsys.readouterr().out.splitlines() if "syntax" in n]
    assert line.split() == ["with", "prompt", "syntax", "2", "2"]
