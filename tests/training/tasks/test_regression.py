"""Training a regressor on shards of twelve prompts, with the true MiniLM."""

import keras
import numpy as np
import pytest

from tf_prompt.data import embedding_batches, targets
from tf_prompt.data.reading import Reading
from tf_prompt.files import read_json
from tf_prompt.runs import checkpoints
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.training import loop
from tf_prompt.training.strategy import build_strategy

pytestmark = pytest.mark.usefixtures("minilm")
SMALL = ("image_size=32", "hidden_dims=(64,)", "dropout_rate=0.0")


def config_for(shards, **overrides):
    arguments = {
        "preset": "resnet_regressor_tiny",
        "data": str(shards),
        "epochs": 2,
        "batch_size": 16,
        "warmup_steps": 2,
        "learning_rate": 3e-3,
        "set": SMALL,
    }
    return FitConfig(**{**arguments, **overrides})


def train(config, run_dir):
    return loop.train(config, run_dir, build_strategy(["CPU:0"]))


def weights_of(run_dir):
    return Run(run_dir).model.get_weights()


@pytest.fixture(scope="module")
def trained(tiny_shards, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("regressor") / "run"
    config = config_for(
        tiny_shards, ema=0.9, layer_decay=0.8, head_epochs=1, loss="cosine"
    )
    return config, run_dir, train(config, run_dir)


def test_history_shows_loss_and_cosine(trained):
    _, run_dir, history = trained
    assert {"loss", "cosine", "val_loss", "val_cosine"} <= set(history[0])
    # With loss="cosine" it is one minus the cosine.
    np.testing.assert_allclose(
        history[1]["val_loss"], 1 - history[1]["val_cosine"], atol=1e-5
    )
    assert history[1]["cosine"] > history[0]["cosine"]
    assert (run_dir / "curves.png").is_file()
    assert not (run_dir / "vocabulary.txt").exists()


@pytest.mark.slow
def test_best_model_holds_the_averaged_weights(trained, tiny_shards):
    """Validation saw the averages, and so does whoever loads the model."""
    _, run_dir, history = trained
    model = Run(run_dir).model
    model.compile(loss="mse", metrics=[keras.metrics.CosineSimilarity()])
    batches = embedding_batches.split_batches(
        Reading(folder=tiny_shards, image_size=32, batch_size=16),
        "validation",
        targets.target_shards(tiny_shards, "validation"),
    )
    found = model.evaluate(batches, verbose=0)[1]
    best = max(row["val_cosine"] for row in history)
    np.testing.assert_allclose(found, best, atol=1e-4)


@pytest.mark.slow
def test_resumed_run_ends_with_the_same_weights(trained, tmp_path):
    config, whole, _ = trained

    class Killed(BaseException):
        pass

    run_dir = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        save = checkpoints.save_checkpoint

        def save_and_die(*arguments):
            save(*arguments)
            raise Killed

        patch.setattr(checkpoints, "save_checkpoint", save_and_die)
        with pytest.raises(Killed):
            train(config, run_dir)
    train(config, run_dir)
    for ours, theirs in zip(weights_of(run_dir), weights_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_memorises_a_few_prompts(tiny_shards, tmp_path):
    config = config_for(tiny_shards, epochs=12)
    history = train(config, tmp_path / "run")
    assert history[-1]["val_cosine"] > 0.95


@pytest.mark.slow
def test_one_image_per_prompt_shortens_the_epoch(tiny_shards, tmp_path):
    config = config_for(tiny_shards, one_image_per_prompt=True, batch_size=12, epochs=1)
    train(config, tmp_path / "run")
    state = read_json(tmp_path / "run" / "checkpoints" / "epoch-00001" / "state.json")
    # Twelve prompts, though there are 96 images.
    assert state["steps_per_epoch"] == 1
