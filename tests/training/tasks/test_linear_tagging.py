"""A linear tagger as a run like others: fitted, measured, asked and exported."""

import json

import numpy as np
import pytest

from tests.conftest import SMALL
from tf_prompt import evaluate, export, fit
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.inference.loading import Loader
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.serving.saved_model import SavedPromptWriter
from tf_prompt.training import loop
from tf_prompt.training.strategy import build_strategy


@pytest.fixture(scope="module")
def trained(tiny_shards, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("linear") / "run"
    argv = ["--preset", "tagger_small", "--data", str(tiny_shards)]
    argv += ["--run-dir", str(run_dir), "--modifier-prompts", "4"]
    for pair in (*SMALL[:2], "encoder=conv"):
        argv += ["--set", pair]
    assert fit.main(argv) == 0
    return run_dir, argv


def test_it_finds_the_modifiers_and_beats_the_commonest(trained, capsys):
    run_dir, argv = trained
    options = ["--run-dir", str(run_dir), "--metrics", "bleu", "--protocol", "lexica"]
    assert evaluate.main(options) == 0
    assert "f1: model minus the ten commonest +" in capsys.readouterr().out
    found = json.loads((run_dir / "evaluation" / "metrics.json").read_text())
    assert found["modifiers"]["model"]["f1"]["score"] > 0.9
    assert found["modifiers"]["against_commonest"]["f1"]["low"] > 0
    before = (run_dir / "best.keras").stat().st_mtime_ns
    assert fit.main(argv) == 0
    assert (run_dir / "best.keras").stat().st_mtime_ns == before
    assert "is trained" in capsys.readouterr().err


def test_an_export_writes_the_same(trained, tiny_shards, tmp_path, capsys):
    run_dir, _ = trained
    assert export.main(["--run-dir", str(run_dir), "--output", str(tmp_path)]) == 0
    saved = SavedPromptWriter(capsys.readouterr().out.strip())
    examples = Examples(tiny_shards, "test", with_targets=False)
    images = next(examples.batches(6, "reading"))["image"]
    wanted = Loader().load_writer(run_dir)(images)
    assert saved(images)["prompt"].tolist() == wanted["prompt"].tolist()


def test_another_run_writes_the_subject(trained, tiny_shards, tmp_path, capsys):
    run_dir, argv = trained
    subject = tmp_path / "subject"
    options = ["--preset", "retrieval_tiny", "--data", str(tiny_shards)]
    options += ["--run-dir", str(subject), "--set", "text_dim=8"]
    for pair in SMALL[:2]:
        options += ["--set", pair]
    assert fit.main(options) == 0
    both = tmp_path / "both"
    argv = [*argv, "--run-dir", str(both), "--members", str(subject)]
    assert fit.main(argv) == 0
    examples = Examples(tiny_shards, "test", with_targets=False)
    images = next(examples.batches(6, "reading"))["image"]
    modifiers, subjects, found = (
        Loader().load_writer(run)(images)["prompt"] for run in (run_dir, subject, both)
    )
    for i, text in enumerate(subjects):
        # Retrieval writes "a red square top"; the tagger knows the places.
        beginning, _, place = text.rpartition(b" ")
        assert place in (b"left", b"middle", b"top")
        assert found[i] == beginning + b" " + modifiers[i]
    capsys.readouterr()
    assert export.main(["--run-dir", str(both), "--output", str(tmp_path)]) == 0
    saved = SavedPromptWriter(capsys.readouterr().out.strip())
    assert saved(images)["prompt"].tolist() == found.tolist()
    argv += ["--run-dir", str(tmp_path / "new"), "--members", *[str(subject)] * 2]
    assert fit.main(argv) == 2
    assert "at most one run with a tagger" in capsys.readouterr().err


def test_style_counts(tiny_shards, tmp_path):
    config = FitConfig(
        preset="tagger_small",
        data=str(tiny_shards),
        modifier_prompts=4,
        image_size=64,
        backbone_weights="random",
    )
    loop.train(config, tmp_path, build_strategy(["CPU:0"]))
    model = Run(tmp_path).model
    assert model.style_dim == 820 and model.style_weight == 0.4
    features, style = np.split(np.abs(model.head.get_weights()[0]), [1280])
    assert style.sum() > 0.1 * features.sum()
