"""A captioner that reads words of its own in training."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SMALL
from tf_prompt.models.presets import build
from tf_prompt.runs.config import FitConfig
from tf_prompt.training.loop import train
from tf_prompt.training.losses import WordLoss
from tf_prompt.training.scheduled_sampling import ScheduledSampling
from tf_prompt.training.strategy import build_strategy

TOKENS = np.array([[2, 5, 6, 7, 8, 3], [2, 9, 4, 3, 0, 0]], np.int32)


@pytest.fixture
def captioner():
    keras.utils.set_random_seed(0)
    sizes = {"vocab_size": 12, "image_size": 16, "conv_filters": (4,)}
    with build_strategy(["CPU:0"]).scope():
        model = build("transformer_tiny", **sizes, embedding_dim=16, max_tokens=6)
        model.compile(keras.optimizers.SGD(0.1), WordLoss())
    return model


def inputs():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    return {"images": tf.constant(images), "token_ids": tf.constant(TOKENS)}


def test_a_share_of_the_words_are_the_models_own(captioner):
    sampling = ScheduledSampling(captioner, 0.5, 3, seed=1)
    read = inputs()
    assert sampling._mix(captioner, read).numpy().tolist() == TOKENS.tolist()
    # All are replaced: each by the likeliest after the true words before it.
    sampling._share.assign(1.0)
    likeliest = captioner(read).numpy().argmax(axis=-1)
    found = sampling._mix(captioner, read).numpy()
    is_word = (TOKENS != 0) & (np.arange(6) > 0)
    wanted = np.where(is_word, np.roll(likeliest, 1, axis=1), TOKENS)
    np.testing.assert_array_equal(found, wanted)
    # The same step replaces the same words, which is what resuming needs.
    sampling._share.assign(0.5)
    first, again = (sampling._mix(captioner, read).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    captioner.optimizer.iterations.assign(7)
    draws = {
        tuple(sampling._mix(captioner, read).numpy().ravel()),
        tuple(first.ravel()),
    }
    assert len(draws) == 2


def test_the_share_rises_to_the_last_epoch(captioner):
    sampling = ScheduledSampling(captioner, 0.4, 5, seed=1)
    shares = []
    for epoch in range(5):
        sampling.on_epoch_begin(epoch)
        shares.append(float(sampling._share.numpy()))
    assert shares == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_a_run_trains_with_it(tiny_shards, tmp_path, monkeypatch):
    shares, begin = [], ScheduledSampling.on_epoch_begin

    def note(self, epoch, logs=None):
        begin(self, epoch, logs)
        shares.append(float(self._share.numpy()))

    monkeypatch.setattr(ScheduledSampling, "on_epoch_begin", note)
    config = FitConfig(
        preset="transformer_tiny",
        data=str(tiny_shards),
        epochs=2,
        batch_size=16,
        scheduled_sampling=0.25,
        set=SMALL,
    )
    history = train(config, tmp_path, build_strategy(["CPU:0"]))
    assert shares == [0, 0.25]
    assert history[1]["val_loss"] < history[0]["val_loss"]
    once = dataclasses.replace(config, epochs=1)
    with pytest.raises(ValueError, match="scheduled_sampling needs at least two"):
        train(once, tmp_path / "once")
    with pytest.raises(ValueError, match="scheduled_sampling must be"):
        FitConfig(scheduled_sampling=1.0)
