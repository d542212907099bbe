"""Training on shards of twelve prompts: learning, resuming, two devices."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SMALL, SMALL_TRANSFORMER
from tf_prompt.files import read_json, write_json
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.training import callbacks, loop
from tf_prompt.training.strategy import build_strategy

# What a step does takes as long to trace as the model is deep.
SMALLEST = (*SMALL_TRANSFORMER, "conv_filters=(8,)", "embedding_dim=16")


def config_for(shards, **overrides):
    arguments = {
        "data": str(shards),
        "epochs": 2,
        "batch_size": 8,
        "warmup_steps": 2,
        "max_words": 5,
        "set": SMALLEST,
    }
    return FitConfig(**{**arguments, **overrides})


def train(config, run_dir, devices=("CPU:0",), callbacks=()):
    return loop.train(config, run_dir, build_strategy(list(devices)), callbacks)


class Killed(BaseException):
    pass


class KillAtEpoch(keras.callbacks.Callback):
    """Ends training where an epoch, counted from 0, begins."""

    def __init__(self, epoch):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epoch:
            raise Killed


class Listener(keras.callbacks.Callback):
    """Notes what it sees of a run."""

    def __init__(self, run_dir):
        super().__init__()
        self._run_dir, self.seen = run_dir, []

    def on_epoch_end(self, epoch, logs=None):
        saved = (self._run_dir / "checkpoints" / f"epoch-{epoch + 1:05d}").is_dir()
        self.seen.append((epoch, logs["val_loss"], saved, type(self.model).__name__))


def weights_of(run_dir):
    model = Run(run_dir).model
    return model.get_weights()


@pytest.fixture(scope="module")
def trained(tiny_shards, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    return run_dir, train(config_for(tiny_shards), run_dir)


def test_run_folder_holds_all_that_is_promised(trained):
    run_dir, history = trained
    for name in ["config.json", "vocabulary.txt", "best.keras", "curves.png", "logs"]:
        assert (run_dir / name).exists(), name
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == [
        "epoch-00001",
        "epoch-00002",
    ]
    with open(run_dir / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    assert float(rows[1]["val_loss"]) == history[1]["val_loss"]
    assert not list(run_dir.rglob("*.part*"))


@pytest.fixture(scope="module")
def interrupted(tiny_shards, tmp_path_factory):
    """Folder and history of a run killed in between, and what listened to it."""
    run_dir = tmp_path_factory.mktemp("runs") / "interrupted"
    config, listener = config_for(tiny_shards), Listener(run_dir)
    with pytest.raises(Killed):
        train(config, run_dir, callbacks=[listener, KillAtEpoch(1)])
    return run_dir, train(config, run_dir, callbacks=[listener]), listener


def test_interrupted_run_ends_with_the_same_weights(trained, interrupted):
    whole, history = trained
    run_dir, resumed, _ = interrupted
    for ours, theirs in zip(resumed, history, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    for ours, theirs in zip(weights_of(run_dir), weights_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_callers_callbacks_come_after_those_of_the_run(trained, interrupted):
    _, history, listener = interrupted
    losses = [row["val_loss"] for row in history]
    assert listener.seen == [
        (epoch, loss, True, "TransformerCaptioner") for epoch, loss in enumerate(losses)
    ]
    # They change nothing.
    assert losses == [row["val_loss"] for row in trained[1]]


def test_finished_run_is_left_alone(trained, tiny_shards):
    run_dir, history = trained
    before = (run_dir / "best.keras").stat().st_mtime_ns
    assert train(config_for(tiny_shards), run_dir) == history
    assert (run_dir / "best.keras").stat().st_mtime_ns == before


def test_other_options_are_refused(trained, tiny_shards):
    with pytest.raises(ValueError, match="learning_rate must stay 0.002 to resume"):
        train(config_for(tiny_shards, learning_rate=0.1), trained[0])


def test_run_of_before_an_option_goes_on(trained, tiny_shards):
    run_dir, history = trained
    saved = read_json(run_dir / "config.json")
    assert saved.pop("tokens") == "words"
    write_json(run_dir / "config.json", saved)
    with pytest.raises(ValueError, match="tokens must stay 'words' to resume"):
        train(config_for(tiny_shards, tokens="subwords", max_words=30), run_dir)
    assert train(config_for(tiny_shards), run_dir) == history


@pytest.mark.slow
@pytest.mark.long
def test_lstm_memorises_a_few_examples(tiny_shards, tmp_path):
    """The Transformer does so in `tiny_run`, see test_commands.py."""
    config = config_for(
        tiny_shards,
        preset="lstm_tiny",
        epochs=20,
        learning_rate=5e-3,
        flip=False,
        set=SMALL,
    )
    history = train(config, tmp_path / "run")
    assert max(row["token_accuracy"] for row in history) > 0.98


@pytest.mark.slow
def test_two_devices_train_like_one(tiny_shards, tmp_path):
    """Prompts differ in length, so the replicas have other numbers of words."""
    # Both replicas draw the same random numbers for other pictures. Clipping is
    # out of the way: Keras clips each replica's gradients before it adds them.
    config = config_for(tiny_shards, flip=False, clip_norm=1e9, batch_size=32)
    one = train(config, tmp_path / "one")
    two = train(config, tmp_path / "two", ["CPU:0", "CPU:1"])
    for name in ("loss", "val_loss", "token_accuracy"):
        np.testing.assert_allclose(
            [row[name] for row in two], [row[name] for row in one], atol=1e-5
        )


@pytest.mark.slow
def test_a_device_may_get_nothing_of_the_last_batch(tiny_shards, tmp_path):
    """Of 24 images to validate on, in batches of 64."""
    config = FitConfig(
        preset="vit_regressor_tiny",
        data=str(tiny_shards),
        epochs=1,
        batch_size=64,
        set=("image_size=24",),
    )
    history = train(config, tmp_path / "run", ["CPU:0", "CPU:1"])
    assert np.isfinite(history[0]["val_loss"])


@pytest.mark.slow
def test_mixed_precision_trains(tiny_shards, tmp_path):
    config = config_for(tiny_shards, mixed_precision=True, epochs=1)
    history = train(config, tmp_path / "run")
    assert np.isfinite(history[0]["loss"])
    assert keras.mixed_precision.dtype_policy().name == "float32"
    model = Run(tmp_path / "run").model
    assert model.compute_dtype == model.output_proj.compute_dtype == "float32"


@pytest.mark.parametrize(
    "losses, patience, stops",
    [
        ([3, 2, 2.5], 2, False),
        ([3, 2, 2.5, 2], 2, True),
        ([3, 2, 2.5, 1], 2, False),
        ([3, 4, 5, 6], 0, False),
        ([], 1, False),
    ],
)
def test_patience_counts_epochs_without_gain(losses, patience, stops):
    history = [{"val_loss": loss} for loss in losses]
    assert callbacks.should_stop(history, patience) is stops


@pytest.mark.slow
def test_loss_that_is_not_finite_stops_the_run(tiny_shards, tmp_path):
    config = config_for(tiny_shards, learning_rate=1e30, clip_norm=1e30, epochs=3)
    with pytest.raises(ValueError, match="loss must stay finite"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"batch_size": 97}, "batch_size must be at most .* 96. Received: 97"),
        ({"backbone_weights": "random"}, "backbone_weights needs a pretrained"),
        ({"preset": "gpt"}, "preset must be one of"),
        ({"set": ("colour=1",)}, "a setting of transformer_tiny must be one of"),
        ({"data": "absent"}, "data must be `toy` or a folder"),
        ({"vocab_size": 4}, "vocab_size must exceed the 4 special tokens"),
    ],
)
def test_options_that_do_not_fit(tiny_shards, tmp_path, overrides, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(config_for(tiny_shards, **overrides), tmp_path / "run")


# Other programs have a config.json too.
@pytest.mark.parametrize("name", ["letter.txt", "config.json"])
def test_foreign_folder_is_left_alone(tiny_shards, tmp_path, name):
    (tmp_path / name).write_text('{"model_type": "clip"}')
    with pytest.raises(ValueError, match="run_dir must be empty, new or a run's"):
        train(config_for(tiny_shards), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"model_type": "clip"}'


def test_mirrored_strategy_is_the_default():
    assert isinstance(build_strategy(), tf.distribute.MirroredStrategy)
