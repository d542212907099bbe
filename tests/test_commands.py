"""The commands from a run to a served prompt, as their users call them."""

import csv
import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tests.conftest import draw_record
from tf_prompt import evaluate, export, fit, predict
from tf_prompt.files import ResumableTable
from tf_prompt.serving import saved_model, signatures
from tf_prompt.training.tasks.captioning import CaptioningTask

pytestmark = pytest.mark.usefixtures("loaded_once")


def errors_of(main, argv, capsys):
    """Runs a command that is to fail: its exit code and its line on stderr."""
    code = checks.exit_code(main, argv)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return code, captured.err


@pytest.fixture
def folder(tmp_path):
    """Two images under odd names, and one file that is none."""
    pictures = tmp_path / "my bilder ü"
    pictures.mkdir()
    (pictures / "one.JPG").write_bytes(draw_record("red", "top", 0).image)
    (pictures / "two.jpg").write_bytes(draw_record("blue", "middle", 0).image)
    (pictures / "zero.png").write_text("no image")
    return pictures


@pytest.fixture(scope="module")
def exported(tiny_export, tmp_path_factory):
    """A model of one version, in a folder that may get more."""
    output = tmp_path_factory.mktemp("exported") / "saved_models"
    shutil.copytree(tiny_export.parents[1], output)
    return output / "transformer_tiny"


@pytest.fixture
def default_alone(monkeypatch):
    """Lets exports have the default signature alone; `tiny_export` has them all."""
    load = signatures.load_servable

    def load_default(run, options):
        servable = load(run, dataclasses.replace(options, embed=False))
        default = servable.signatures[saved_model.SIGNATURE]
        servable.signatures = {saved_model.SIGNATURE: default}
        return servable

    monkeypatch.setattr(signatures, "load_servable", load_default)


def test_evaluate_writes_and_prints_the_contract(tiny_run, capsys):
    argv = ["--run-dir", str(tiny_run), "--json", "--metrics", "bleu", "meteor"]
    assert evaluate.main(argv) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tiny_run / "evaluation/metrics.json").read_text())
    assert set(printed) == {"examples", "metrics", "baselines", "health"}
    assert printed["examples"] == 24
    # The run knows these pictures by heart.
    assert printed["metrics"]["bleu"]["score"] > 99
    assert set(printed["metrics"]["bleu"]) == {"score", "low", "high", "signature"}
    assert set(printed["baselines"]) == {
        "most_common",
        "nearest_neighbour",
        "random_training",
        "shuffled",
    }
    assert printed["baselines"]["most_common"]["bleu"]["score"] < 60
    # Each test picture has an equal one among the training pictures.
    assert printed["baselines"]["nearest_neighbour"]["bleu"]["score"] > 99
    assert printed["health"]["end_rate"] == 1
    with open(tiny_run / "evaluation/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert rows[0]["reference"] == rows[0]["prediction"] == "a red patch left"


def test_killed_evaluation_goes_on(tiny_run, capsys, monkeypatch):
    argv = ["--run-dir", str(tiny_run), "--json", "--metrics", "bleu"]
    argv += ["--batch-size", "1", "--split", "train", "--limit", "5"]
    add, calls = ResumableTable.add, []

    def add_or_stop(self, rows):
        add(self, rows)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResumableTable, "add", add_or_stop)
    assert evaluate.main(argv) == 130
    assert evaluate.main(argv) == 0
    # 5 pictures, one a batch: two before, three after.
    assert len(calls) == 5
    assert json.loads(capsys.readouterr().out)["examples"] == 5


def test_evaluate_for_people(tiny_run, capsys):
    argv = ["--run-dir", str(tiny_run), "--metrics", "bleu", "--limit", "6"]
    argv += ["--explain", "2"]
    assert evaluate.main([*argv, "--split", "validation"]) == 0
    printed = capsys.readouterr().out
    assert "6 examples" in printed and "nearest_neighbour" in printed
    assert printed.count("missed:") == 2
    page = (tiny_run / "evaluation_validation" / "gallery.html").read_text()
    assert page.count("data:image/jpeg") == 6 and "a red patch" in page
    assert (tiny_run / "evaluation_validation" / "metrics.json").is_file()


def test_predict_reads_files_and_folders(tiny_run, folder, capsys):
    (folder / "zero.png").unlink()
    csv_path = folder.parent / "out.csv"
    argv = ["--run-dir", str(tiny_run), str(folder), "--json", "--sidecar"]
    assert predict.main([*argv, "--csv", str(csv_path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["prompt"] for line in lines] == [
        "a red patch top",
        "a blue patch middle",
    ]
    assert [pathlib.Path(line["path"]).name for line in lines] == ["one.JPG", "two.jpg"]
    assert all(-1 < line["score"] <= 0 for line in lines)
    assert (folder / "one.txt").read_text() == "a red patch top\n"
    with open(csv_path, newline="") as file:
        assert [row["prompt"] for row in csv.DictReader(file)] == [
            line["prompt"] for line in lines
        ]


@pytest.mark.parametrize(
    "flags",
    [
        ["--num-beams", "3"],
        ["--sample", "--top-k", "1"],
        ["--repetition-penalty", "1.01", "--no-repeat-ngram", "2"],
    ],
)
def test_other_ways_of_decoding(tiny_run, folder, capsys, flags):
    """The run is so sure of these pictures that all ways agree."""
    (folder / "zero.png").unlink()
    argv = ["--run-dir", str(tiny_run), str(folder), "--json", *flags]
    assert predict.main(argv) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["prompt"] for line in lines] == [
        "a red patch top",
        "a blue patch middle",
    ]


def test_words_are_enforced(tiny_run, folder, capsys):
    argv = ["--run-dir", str(tiny_run), str(folder / "one.JPG"), "--json"]
    assert predict.main([*argv, "--min-words", "5"]) == 0
    assert len(json.loads(capsys.readouterr().out)["prompt"].split()) == 5


def test_one_bad_image_costs_nobody_else(tiny_run, folder, capsys):
    assert predict.main(["--run-dir", str(tiny_run), str(folder), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in line for line in lines] == [False, False, True]
    assert set(lines[2]) == {"path", "error"}


def test_saved_model_writes_the_same_prompts(tiny_run, exported, folder, capsys):
    (folder / "zero.png").unlink()
    for model in (["--run-dir", tiny_run], ["--saved-model", exported / "1"]):
        assert predict.main([str(a) for a in [*model, folder, "--json"]]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for ours, theirs in zip(lines[:2], lines[2:], strict=True):
        assert ours["prompt"] == theirs["prompt"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)


def test_saved_model_has_the_promised_signature(exported):
    loaded = tf.saved_model.load(exported / "1")
    signature = loaded.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    assert name == "image_bytes"
    assert set(signature.structured_outputs) == {"prompt", "score"}
    graph = signature.graph.as_graph_def()
    ops = {node.op for f in graph.library.function for node in f.node_def}
    assert not any("Xla" in op for op in ops)
    assert (exported / "1" / "assets" / "vocabulary.txt").is_file()
    assert (exported / "1" / "assets" / "config.json").is_file()


def test_batches_mix_pictures_of_any_size(exported):
    pictures = [
        np.zeros((40, 60, 3), np.uint8),
        np.full((10, 10, 3), 255, np.uint8),
        np.full((32, 32, 3), 99, np.uint8),
    ]
    image_bytes = [tf.io.encode_png(picture).numpy() for picture in pictures]
    writer = saved_model.SavedPromptWriter(exported / "1")
    together = writer(image_bytes)["prompt"]
    alone = [writer([data])["prompt"][0] for data in image_bytes]
    assert list(together) == alone


def test_export_takes_the_next_version(tiny_run, exported, default_alone, capsys):
    argv = ["--run-dir", str(tiny_run), "--output", str(exported.parent)]
    # That an earlier version named it by the preset makes no difference.
    assert export.main(argv) == 0
    assert capsys.readouterr().out.strip() == str(exported / "2")
    assert sorted(path.name for path in exported.iterdir()) == ["1", "2"]


def test_export_that_differs_is_not_published(
    tiny_run, default_alone, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        saved_model.SavedPromptWriter,
        "__call__",
        lambda self, data: {"prompt": np.array([b"x"] * 2), "score": np.zeros(2)},
    )
    argv = ["--run-dir", str(tiny_run), "--output", str(tmp_path)]
    assert export.main(argv) == 2
    assert "must give the same prompts" in capsys.readouterr().err
    assert list((tmp_path / tiny_run.name).iterdir()) == []


def test_fit_prints_metrics_and_examples(tiny_run, capsys, monkeypatch):
    """The command itself, on the run that is already trained."""
    saved = json.loads((tiny_run / "config.json").read_text())
    argv = ["--run-dir", str(tiny_run), "--data", saved["data"]]
    for name in ["epochs", "batch_size", "learning_rate", "warmup_steps", "max_words"]:
        argv += [f"--{name.replace('_', '-')}", str(saved[name])]
    argv += ["--no-flip"]
    for pair in saved["set"]:
        argv += ["--set", pair]
    monkeypatch.setattr(CaptioningTask, "report_metrics", ("bleu",))
    assert fit.main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.count("true:      a red patch") >= 1
    assert printed.count("predicted: ") == 10
    following = printed.split("What next:\n")[1].splitlines()
    assert following == [
        f"  python -m tf_prompt.evaluate --run-dir {tiny_run}",
        f"  python -m tf_prompt.predict --run-dir {tiny_run} IMAGE...",
        f"  python -m tf_prompt.export --run-dir {tiny_run} --output saved_models",
    ]


@pytest.mark.parametrize(
    "main, argv, message",
    [
        (fit.main, ["--preset", "gpt"], "preset must be one of blip2_opt_2_7b"),
        (fit.main, ["--batch-size", "-1"], "batch_size must be positive"),
        (fit.main, ["--data", "absent"], "data must be `toy` or a folder"),
        (evaluate.main, ["--run-dir", "absent"], "run_dir must hold a run"),
        (export.main, ["--run-dir", "absent"], "run_dir must hold a run"),
        (export.main, ["--run-dir", "r", "--name", "a/b"], "name must be letters"),
        (
            predict.main,
            ["x", "--sample", "--num-beams", "2"],
            "sample needs num_beams=1",
        ),
        (predict.main, ["x", "--top-p", "1.5"], "top_p must be at most 1. Received"),
        (predict.main, ["x.png"], "one of --run-dir, --saved-model, --server"),
        (predict.main, ["--run-dir", "r", "absent"], "PATH must be a file or a folder"),
        (predict.main, ["--run-dir", "r", "."], "PATH must hold images"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    main, argv, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, line = errors_of(main, argv, capsys)
    assert code == 2
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_image_alone_exits_1(tiny_run, tmp_path, capsys):
    (tmp_path / "broken.png").write_text("no image")
    argv = ["--run-dir", str(tiny_run), str(tmp_path / "broken.png")]
    code, line = errors_of(predict.main, argv, capsys)
    assert code == 1
    assert "broken.png: not an image" in line
