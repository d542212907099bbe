"""A tagger as a run like others: it learns, is measured, asked and exported."""

import json

import numpy as np
import pytest

from tests.conftest import SMALL
from tf_prompt import evaluate, export, fit
from tf_prompt.data import modifier_batches
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.inference.loading import Loader
from tf_prompt.models.presets import build
from tf_prompt.runs.config import FitConfig
from tf_prompt.serving.saved_model import SavedPromptWriter
from tf_prompt.training.tasks.modifiers import choose_threshold
from tf_prompt.training.tasks.tagging import TaggingTask


def fit_tagger(shards, run_dir):
    argv = ["--preset", "tagger_tiny", "--data", str(shards)]
    argv += ["--run-dir", str(run_dir), "--modifier-prompts", "4", "--no-flip"]
    argv += ["--epochs", "8", "--batch-size", "8", "--learning-rate", "5e-3"]
    argv += ["--warmup-steps", "5"]
    for pair in (*SMALL[:2], "width=32"):
        argv += ["--set", pair]
    assert fit.main(argv) == 0


@pytest.fixture(scope="module")
def trained(tiny_shards, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("tagger") / "run"
    fit_tagger(tiny_shards, run_dir)
    return run_dir


def test_modifiers_are_those_of_enough_distinct_prompts(tiny_shards):
    # 12 prompts of 4 colours and 3 places; the place stands behind the comma.
    chosen = modifier_batches.choose_modifiers(tiny_shards, 4)
    assert chosen == ["left", "middle", "top"]
    with pytest.raises(ValueError, match=r"modifier, 4\. Received: 5"):
        modifier_batches.choose_modifiers(tiny_shards, 5)
    found = modifier_batches.ModifierTargets(tiny_shards, "test", chosen)
    examples = Examples(tiny_shards, "test", with_targets=False)
    prompts = [p for b in examples.batches(8, "reading") for p in b["prompt"]]
    expected = [[name in prompt for name in chosen] for prompt in prompts]
    np.testing.assert_array_equal(found.flags(), expected)
    np.testing.assert_array_equal(found.look_up(np.array([1, 2])), expected[14])


@pytest.mark.slow
def test_it_finds_the_modifiers_and_beats_the_commonest(trained, capsys):
    argv = ["--run-dir", str(trained), "--metrics", "bleu", "--protocol", "lexica"]
    assert evaluate.main(argv) == 0
    out = capsys.readouterr().out
    assert "PromptStealer on LexicaDataset: Jaccard 0.4477" in out
    assert "another split" in out and "not measured without --clip" in out
    found = json.loads((trained / "evaluation" / "metrics.json").read_text())
    found = found["modifiers"]
    assert found["examples"] == 24
    assert found["model"]["f1"]["score"] > 0.9
    # All three places are written of each picture.
    assert found["ten_commonest"]["precision"]["score"] == pytest.approx(1 / 3)
    assert found["ten_commonest"]["recall"]["score"] == 1
    assert found["true_words"]["jaccard"]["score"] == 1


@pytest.mark.slow
def test_an_export_writes_the_same(trained, tiny_shards, tmp_path, capsys):
    assert export.main(["--run-dir", str(trained), "--output", str(tmp_path)]) == 0
    saved = SavedPromptWriter(capsys.readouterr().out.strip())
    examples = Examples(tiny_shards, "test", with_targets=False)
    images = next(examples.batches(6, "reading"))["image"]
    wanted = Loader().load_writer(trained)(images)
    assert saved(images)["prompt"].tolist() == wanted["prompt"].tolist()
    assert all(prompt.split() for prompt in wanted["prompt"])


@pytest.mark.slow
def test_a_finished_run_is_not_calibrated_again(trained, tiny_shards):
    path = trained / "best.keras"
    before = path.read_bytes()
    fit_tagger(tiny_shards, trained)
    assert path.read_bytes() == before


def test_the_threshold_has_the_highest_f1():
    probabilities = np.array([[0.9, 0.31], [0.6, 0.3], [0.4, 0.32]])
    flags = np.array([[True, False], [True, False], [False, False]])
    # The third prompt has no modifiers, so what is written of it does not count.
    counts = np.array([1, 1, 0])
    threshold, f1 = choose_threshold(probabilities, flags, counts)
    # Above 0.31; the most probable is written anyway.
    assert threshold > 0.31 and f1 == 1


def test_the_threshold_is_low_where_most_modifiers_are_unknown():
    probabilities = np.array([[0.9, 0.1]] * 4)
    # The first is always right, the second once.
    flags = np.array([[True, True]] + [[True, False]] * 3)
    # The first alone: 8 / 9, written and true ones together; both: 10 / 13.
    threshold, f1 = choose_threshold(probabilities, flags, flags.sum(axis=1))
    assert threshold > 0.1 and f1 == pytest.approx(8 / 9)
    # Of 40 true ones: 8 / 44 against 10 / 48.
    threshold, f1 = choose_threshold(probabilities, flags, np.full(4, 10))
    assert threshold < 0.1 and f1 == pytest.approx(10 / 48)


def test_logits_are_shrunk_towards_the_frequency(tiny_shards, tmp_path):
    options = {"preset": "tagger_tiny", "data": str(tiny_shards), "modifier_prompts": 4}
    task = TaggingTask(FitConfig(**options), tmp_path, tiny_shards)
    odds = task._training.log_odds()
    # Each place in 32 of 96 images.
    np.testing.assert_allclose(odds, np.log(32.5 / 64.5))
    model = build("tagger_tiny", num_modifiers=3, image_size=32, conv_filters=(8,))
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    before = model(images)
    model.rescale(0.5, odds)
    np.testing.assert_allclose(model(images), 0.5 * before + odds, atol=1e-5)
