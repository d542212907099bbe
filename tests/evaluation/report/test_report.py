"""Reports on runs written by hand: nothing here is trained."""

import csv
import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

from tests import checks
from tf_prompt import report
from tf_prompt.evaluation.report import data_card, document, runs
from tf_prompt.models import presets
from tf_prompt.runs.config import settings

REFERENCES = [f"a red cat number {word} on a hill" for word in "a b c d e f".split()]
BLEU = {"score": 50.0, "low": 40.0, "high": 60.0, "signature": "bleu|one"}
HEALTH = {"unique_ratio": 0.5, "end_rate": 1.0}
CONFIG = {"preset": "lstm_tiny", "epochs": 3, "seed": 0, "keras_version": "3.15.1"}


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_run(folder, predictions=None, references=REFERENCES, metrics=None, **config):
    """A run's folder without a model; evaluated if there are predictions."""
    folder.mkdir(parents=True)
    config = {**CONFIG, "data": str(folder.parent / "shards"), **config}
    (folder / "config.json").write_text(json.dumps(config))
    losses = [(3.0, 2.5), (2.0, 1.5), (1.0, 1.75)]
    history = [
        {"epoch": epoch, "loss": loss, "val_loss": val_loss, "seconds": 30.5}
        for epoch, (loss, val_loss) in enumerate(losses, start=1)
    ]
    write_csv(folder / "history.csv", history)
    if predictions is None:
        return folder
    (folder / "evaluation").mkdir()
    rows = [
        {"image_id": f"{i}.jpg", "reference": reference, "prediction": prediction}
        for i, (reference, prediction) in enumerate(
            zip(references, predictions, strict=True)
        )
    ]
    write_csv(folder / "evaluation/predictions.csv", rows)
    content = {
        "examples": len(rows),
        "metrics": metrics or {"bleu": BLEU},
        "baselines": {"most_common": {"bleu": BLEU}},
        "health": HEALTH,
    }
    (folder / "evaluation/metrics.json").write_text(json.dumps(content))
    return folder


def write_report(output, *folders):
    """Runs the command; gives Markdown and HTML."""
    argv = ["--run-dir", *map(str, folders), "--output", str(output)]
    assert report.main(argv) == 0
    return (output / "report.md").read_text(), (output / "report.html").read_text()


def row_of(markdown, *starts):
    """Cells of the first row that starts with these cells."""
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if tuple(cells[: len(starts)]) == starts:
            return cells
    raise AssertionError(f"no row {starts} in\n{markdown}")


def test_runs_stand_beside_each_other_and_the_thesis(tmp_path, capsys):
    good = write_run(tmp_path / "good", REFERENCES)
    poor = write_run(tmp_path / "poor", ["a dog on a hill"] * 6, seed=1)
    markdown, page = write_report(tmp_path / "out", good, poor)

    printed = capsys.readouterr().out
    assert printed.strip() in markdown
    assert "50.00 [40.00, 60.00]" in row_of(printed, "good")
    assert row_of(printed, "thesis: LSTM")[1:4] == ["1.1", "8.1", "44.1"]
    assert row_of(printed, "thesis: Transformer")[1:4] == ["5.0", "14.1", "51.6"]
    assert (
        "other data and another signature: they are not directly comparable" in markdown
    )
    assert "bleu|one" in page

    assert row_of(markdown, "good", "poor", "BLEU")[3] == "good is better"
    assert row_of(markdown, "good", "poor", "METEOR")[3] == "good is better"
    assert row_of(markdown, "seed") == ["seed", "0", "1"]
    assert "1 min 32 s" in row_of(markdown, "good", "lstm_tiny")
    assert row_of(markdown, "good", "lstm_tiny")[4:6] == ["3 of 3", "2"]
    assert row_of(markdown, "good", "most common prompt")[2] == "50.00 [40.00, 60.00]"
    assert row_of(markdown, "good", "0.500", "1.000")
    assert "3.15.1" in row_of(markdown, "good", "not recorded")
    files = {"curves.png", "report.html", "report.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files


def scored(score, **other):
    return {**BLEU, "score": score, "low": score - 1, "high": score + 1, **other}


def add_baseline(folder, name, scores):
    path = folder / "evaluation/metrics.json"
    content = json.loads(path.read_text())
    content["baselines"][name] = scores
    path.write_text(json.dumps(content))


def test_chance_level_is_stated(tmp_path):
    one, two, old = (
        write_run(tmp_path / name, REFERENCES) for name in ("one", "two", "old")
    )
    for folder in (one, two):
        level = {"bleu": scored(3.125), "cosine": scored(0.25)}
        level["meteor"] = {"score": None, "signature": "not measured: install"}
        add_baseline(folder, "shuffled", level)
    markdown, page = write_report(tmp_path / "same", one, two)
    meaning = "the score of the true prompts when assigned to the wrong images"
    sentence = f"Chance level, {meaning}: BLEU 3.12, cosine 0.250."
    assert sentence in markdown and sentence in page
    title = "chance level: true prompts of other images"
    assert row_of(markdown, "one", title)[2:4] == ["3.12 [2.12, 4.12]", "not measured"]

    markdown, page = write_report(tmp_path / "mixed", one, old, two)
    assert f"Chance level for one, two, {meaning}: BLEU 3.12, cosine 0.250." in markdown
    assert "Chance level for old: not measured." in markdown
    assert row_of(markdown, "old", title)[2:] == ["not measured"] * 5


def test_every_baseline_is_shown(tmp_path):
    folder = write_run(tmp_path / "run", REFERENCES)
    add_baseline(folder, "random_training", {"bleu": scored(7.0)})
    add_baseline(folder, "of_a_later_version", {"bleu": scored(8.0)})
    markdown, _ = write_report(tmp_path / "out", folder)
    for name, cell in (
        ("most common prompt", "50.00 [40.00, 60.00]"),
        ("nearest neighbour", "not measured"),
        ("random training prompts", "7.00 [6.00, 8.00]"),
        ("of a later version", "8.00 [7.00, 9.00]"),
    ):
        assert row_of(markdown, "run", name)[2] == cell


def test_all_metrics_are_listed_closed(tmp_path):
    metrics = {
        "later_metric": scored(4.0, signature="later|one"),
        "rouge_l": scored(41.0, signature="rouge|one"),
        "bleu": BLEU,
    }
    full = write_run(tmp_path / "full", REFERENCES, metrics=metrics)
    other = {"rouge_l": scored(42.0, signature="rouge|two")}
    part = write_run(tmp_path / "part", REFERENCES, metrics=other)
    raw = write_run(tmp_path / "raw")
    markdown, page = write_report(tmp_path / "out", full, part, raw)
    _, listed = markdown.split("### All metrics")
    assert row_of(listed, "metric") == ["metric", "full", "part", "raw"]
    assert [
        row_of(listed, name)[1:] for name in ("BLEU", "ROUGE-L", "later metric")
    ] == [
        ["50.00 [40.00, 60.00]", "not measured", "not measured"],
        ["41.00 (1) [40.00, 42.00]", "42.00 (2) [41.00, 43.00]", "not measured"],
        ["4.00 [3.00, 5.00]", "not measured", "not measured"],
    ]
    assert r"(1) rouge\|one; (2) rouge\|two" in listed and r"later\|one" in listed
    (inside,) = re.findall(
        r"<details><summary>All metrics</summary>(.*?)</details>", page
    )
    assert "ROUGE-L" in inside and "<details open" not in page
    markdown, page = write_report(tmp_path / "none", raw)
    assert "All metrics" not in markdown + page


def test_equal_runs_show_no_difference(tmp_path):
    folders = [write_run(tmp_path / name, REFERENCES) for name in ("one", "two")]
    markdown, _ = write_report(tmp_path / "out", *folders)
    expected = ["no difference shown", "+0.00 [+0.00, +0.00]", "1.000"]
    assert row_of(markdown, "one", "two", "BLEU")[3:] == expected
    assert "All options are the same." in markdown


def test_runs_on_other_examples_are_not_compared(tmp_path):
    one = write_run(tmp_path / "one", REFERENCES)
    others = [reference + " at night" for reference in REFERENCES]
    two = write_run(tmp_path / "two", REFERENCES, references=others)
    markdown, _ = write_report(tmp_path / "out", one, two)
    finding = row_of(markdown, "one", "two", "BLEU, METEOR")[3]
    assert finding == "not comparable: other examples"


def test_order_of_predictions_does_not_matter(tmp_path):
    one = write_run(tmp_path / "one", REFERENCES)
    two = write_run(tmp_path / "two", REFERENCES)
    path = two / "evaluation/predictions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rows)]))
    markdown, _ = write_report(tmp_path / "out", one, two)
    assert row_of(markdown, "one", "two", "BLEU")[3] == "no difference shown"


def test_what_was_not_measured_says_so_and_how(tmp_path):
    raw = write_run(tmp_path / "my run")
    (raw / "history.csv").unlink()
    absent = {**BLEU, "score": None, "signature": "not measured: install it"}
    part = write_run(tmp_path / "part", REFERENCES, metrics={"cosine": absent})
    markdown, _ = write_report(tmp_path / "out", raw, part)
    assert row_of(markdown, "my run")[1:7] == ["not measured"] * 6
    assert f"python -m tf_prompt.evaluate --run-dir '{raw}'" in markdown
    assert "part: cosine not measured: install it" in markdown
    assert row_of(markdown, "my run", "lstm_tiny")[2:] == [
        "not measured",
        "not measured",
        "0 of 3",
        "not measured",
        "not measured",
    ]
    assert "not measured: my run has no predictions" in markdown


def test_without_any_history_there_is_no_picture(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "history.csv").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.md").write_text("# tf_prompt: One run\n")
    (tmp_path / "out/curves.png").write_text("of an older report")
    markdown, page = write_report(tmp_path / "out", folder)
    assert "curves.png" not in markdown and "<img" not in page
    assert not (tmp_path / "out/curves.png").exists()


def test_other_signatures_are_told_apart(tmp_path):
    one = write_run(tmp_path / "one", REFERENCES)
    other = {"bleu": {**BLEU, "signature": "bleu|two"}}
    two = write_run(tmp_path / "two", REFERENCES, metrics=other)
    markdown, _ = write_report(tmp_path / "out", one, two)
    assert "50.00 (1) [40.00, 60.00]" in row_of(markdown, "one")
    assert "50.00 (2) [40.00, 60.00]" in row_of(markdown, "two")
    assert "BLEU: several signatures, not directly comparable: (1) bleu" in markdown


def test_data_card_tells_what_was_filtered(tmp_path):
    folder = write_run(tmp_path / "run")
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "train-00000.tfrecord").write_bytes(b"123")
    stats = {
        "source": "diffusiondb_2m",
        "flags": {"square": True},
        "rows": 1600,
        "dropped": {"not_square": 18, "few_steps": 10},
        "rejected": {"no_words": 2, "unreadable_part": 0},
        "examples": {"train": 1500, "validation": 40, "test": 30},
        "near_duplicate_jaccard": None,
    }
    (shards / "stats.json").write_text(json.dumps(stats))
    markdown, _ = write_report(tmp_path / "out", folder)
    assert row_of(markdown, "rows")[1] == "1,600"
    dropped = row_of(markdown, "dropped by filter")[1]
    assert dropped == "28 (not square 18, few steps 10)"
    assert row_of(markdown, "rejected")[1] == "2 (no words 2)"
    assert row_of(markdown, "kept: train")[1] == "1,500"
    first = row_of(markdown, "fingerprint")[1]
    (shards / "train-00000.tfrecord").write_bytes(b"1234")
    markdown, _ = write_report(tmp_path / "out", folder)
    assert row_of(markdown, "fingerprint")[1] != first


def test_page_is_whole_escaped_and_alone(tmp_path):
    folder = write_run(tmp_path / "<b>&|*run*", REFERENCES, data="<script>x")
    markdown, page = write_report(tmp_path / "out", folder)
    html.parser.HTMLParser().feed(page)
    assert "<script" not in page and "<b>" not in page
    assert "&lt;b&gt;&amp;|*run*" in page
    assert r"\<b\>&\|\*run\*" in markdown
    links = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert "prefers-color-scheme: dark" in page and "viewport" in page


def test_markdown_table_keeps_columns():
    table = document.Table(("a", "b"), (("x|y", "1"), ("long one", "22")))
    assert document.block_to_markdown(table).splitlines() == [
        "| a        |   b |",
        "| -------- | --: |",
        r"| x\|y     |   1 |",
        "| long one |  22 |",
    ]


def test_runs_of_one_name_get_their_paths(tmp_path):
    folders = [tmp_path / "a/run", tmp_path / "b/run", tmp_path / "c"]
    assert runs.name_runs(folders) == [str(folders[0]), str(folders[1]), "c"]


def test_run_dir_may_be_repeated(tmp_path, capsys):
    one, two = (str(write_run(tmp_path / name)) for name in ("one", "two"))
    argv = ["--run-dir", one, "--run-dir", two, "--output", str(tmp_path / "out")]
    assert report.main(argv) == 0
    assert row_of(capsys.readouterr().out, "two")


def test_a_trained_run_has_its_weights_counted(tiny_run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", "history.csv", "best.keras", "vocabulary.txt"):
        shutil.copy(tiny_run / name, folder / name)
    run = runs.read_run(folder, "run")
    arguments = settings(run.config["set"])
    num_entries = len((folder / "vocabulary.txt").read_text().splitlines())
    model = presets.build(
        run.config["preset"], **{**arguments, "vocab_size": num_entries}
    )
    total, trainable = run.parameters
    assert total == model.count_params()
    assert 0 < trainable <= total
    assert run.best_epoch["val_loss"] == min(row["val_loss"] for row in run.history)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--run-dir", "absent", "--output", "out"], "run_dir must hold a run"),
        (["--run-dir", "run", "run", "--output", "out"], "name each run once"),
        (["--run-dir", "run", "./run/", "--output", "out"], "name each run once"),
        (["--run-dir", "run", "--output", "run"], "output must not be a run's"),
        (["--run-dir", "run", "--output", "file"], "output must be a folder"),
        (["--run-dir", "run", "--output", "file/out"], "output must be a folder"),
        (["--run-dir", "--output", "out"], "expected at least one argument"),
        (["--output", "out"], "required: --run-dir"),
        (["--run-dir", "damaged", "--output", "out"], "must be a table of numbers"),
        (["--run-dir", "cut", "--output", "out"], "best.keras must be a whole model"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(argv, message, tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "run")
    (write_run(tmp_path / "damaged") / "history.csv").write_text("epoch,loss\n1,x\n")
    (write_run(tmp_path / "cut") / "best.keras").write_bytes(b"PK")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    code = checks.exit_code(report.main, argv)
    captured = capsys.readouterr()
    assert code == 2 and captured.out == ""
    assert captured.err.count("\n") == 1 and message in captured.err
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_help_is_quick():
    start = time.monotonic()
    command = [sys.executable, "-m", "tf_prompt.report", "--help"]
    root = pathlib.Path(__file__).parents[3]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 0 and "--run-dir" in result.stdout
    # TensorFlow alone takes three seconds to import.
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        {"examples": "3", "metrics": {}},
        {"examples": 3, "metrics": []},
        {"examples": 3, "metrics": {"bleu": 1.0}},
        {"examples": 3, "metrics": {"bleu": None}},
        {"examples": 3, "metrics": {"bleu": {"score": "1"}}},
        {"examples": 3, "metrics": {}, "baselines": {"shuffled": None}},
        {"examples": 3, "metrics": {}, "health": {"end_rate": "all"}},
    ],
    ids=str,
)
def test_damaged_metrics_are_named(tmp_path, metrics):
    write_run(tmp_path / "run")
    folder = tmp_path / "run" / "evaluation"
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="Received: .*metrics.json"):
        runs.read_run(tmp_path / "run", "run")


@pytest.mark.parametrize("content", ["[]", '{"rows": "3"}', '{"dropped": {"a": null}}'])
def test_damaged_stats_are_named(tmp_path, content):
    (tmp_path / "stats.json").write_text(content)
    with pytest.raises(ValueError, match="Received: .*stats.json"):
        data_card.describe_data(str(tmp_path))
