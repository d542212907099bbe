"""A linear tagger as a run like others: fitted, measured, asked and exported."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SMALL
from tf_prompt import evaluate, export, fit
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.inference.loading import Loader
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.tagger import TaggerModel
from tf_prompt.models.linear_tagger import LinearTagger
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
    printed = capsys.readouterr()
    assert "is trained" in printed.err
    assert "f1: model minus the ten commonest +" in printed.out
    following = f"  python -m tf_prompt.evaluate --run-dir {run_dir} --protocol lexica"
    assert following in printed.out.splitlines()


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
    subject, both = tmp_path / "subject", tmp_path / "both"
    config = FitConfig(
        preset="retrieval_tiny",
        data=str(tiny_shards),
        set=(*SMALL[:2], "text_dim=8"),
    )
    loop.train(config, subject, build_strategy(["CPU:0"]))
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
    assert "must be at most one run" in capsys.readouterr().err
    assert fit.main([*argv[:-2], str(tmp_path / "none")]) == 2
    assert "members must be the folder of a trained" in capsys.readouterr().err
    assert fit.main([*argv[:-2], str(run_dir)]) == 2
    assert f"{run_dir}, a tagger" in capsys.readouterr().err
    # The member is retrained: what was predicted with it is no longer true.
    identity = both / "evaluation" / "predictions.json"
    assert evaluate.main(["--run-dir", str(both), "--metrics", "bleu"]) == 0
    before = identity.read_bytes()
    os.utime(subject / "best.keras")
    assert evaluate.main(["--run-dir", str(both), "--metrics", "bleu"]) == 0
    assert identity.read_bytes() != before


class Fixed(PromptModel):
    """Writes given prompts."""

    def __init__(self, prompts, is_raw):
        self._prompts, self.is_raw = tf.constant(prompts), is_raw
        super().__init__("fixed", [8])

    def _describe(self, images):
        return {"prompt": self._prompts}


@pytest.mark.parametrize(
    ("subject", "is_raw", "wanted"),
    [
        ("", False, "oil painting"),
        ("", True, "oil painting"),
        ("a cat dark oil painting", False, "a cat oil painting"),
        ("A Cat Oil Painting", True, "A Cat, oil painting"),
        ("A cat\nof, x\ny", True, "A cat\nof, oil painting"),
    ],
)
def test_modifiers_follow_the_subject_alone(subject, is_raw, wanted):
    network = LinearTagger(2, "conv", 8, conv_filters=(4,))
    network.head.bias.assign([0.9, 0.2])
    model = TaggerModel(
        network, ["oil painting", "dark"], "tagger", Fixed([subject], is_raw)
    )
    found = model.describe({8: np.zeros((1, 8, 8, 3), np.uint8)})
    assert found["prompt"].numpy()[0].decode() == wanted


def test_few_modifiers_are_removed_from_a_subject(capfd):
    modifiers = [f"{number:060d}" for number in range(1000)]
    network = LinearTagger(1000, "conv", 8, conv_filters=(4,))
    subject = Fixed([f"a cat {modifiers[1]} {modifiers[0]}"], False)
    model = TaggerModel(network, modifiers, "tagger", subject)
    found = model.describe({8: np.zeros((1, 8, 8, 3), np.uint8)})
    assert found["prompt"].numpy()[0].startswith(b"a cat 00")
    assert len(found["prompt"].numpy()[0]) == 66
    assert "out of memory" not in capfd.readouterr().err


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
