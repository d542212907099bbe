"""The head's first epochs: no gradients of the backbone, and the same weights."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.training.head_first import HeadFirst
from tf_prompt.training.optimizers import LayerwiseAdamW
from tf_prompt.training.strategy import build_strategy

STEPS = 4


class Counting(LayerwiseAdamW):
    """Notes how many gradients each trace of a step computes."""

    counts = ()

    def apply_gradients(self, pairs):
        pairs = list(pairs)
        self.counts = (*self.counts, len(pairs))
        super().apply_gradients(pairs)


@functools.cache
def fit_anew(epochs, *devices):
    """What `fit` gives without weights; no test changes it."""
    return fit(epochs, devices=devices)


def fit(epochs, skips=True, done=0, weights=None, devices=("CPU:0",)):
    """A model of two layers, the first of which is frozen in the first epoch."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8 * STEPS, 3)).astype("f4")
    batches = tf.data.Dataset.from_tensor_slices((x, x[:, :1] ** 2)).batch(8)
    with build_strategy(list(devices)).scope():
        backbone, head = keras.layers.Dense(4, "relu"), keras.layers.Dense(1)
        model = keras.Sequential([keras.Input((3,)), backbone, head])
        frozen = [v.path for v in backbone.trainable_variables]
        optimizer = Counting(0.01, frozen_steps=STEPS, frozen=frozen)
        model.compile(optimizer, "mse", jit_compile=False)
        optimizer.build(model.trainable_variables)
    if weights:
        model.set_weights(weights[0])
        optimizer.load_own_variables(weights[1])
    began = backbone.get_weights()
    model.fit(
        batches,
        initial_epoch=done,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[HeadFirst(model, 1, done)] if skips else [],
    )
    pairs = zip(began, backbone.get_weights(), strict=True)
    return model, max(np.abs(a - b).max() for a, b in pairs)


def state_of(model):
    store = {}
    model.optimizer.save_own_variables(store)
    return model.get_weights(), store


def test_the_head_learns_the_same_without_the_gradients_of_the_backbone():
    model, moved = fit_anew(1, "CPU:0")
    slow, _ = fit(1, skips=False)
    assert moved == 0
    assert set(model.optimizer.counts) == {2} and set(slow.optimizer.counts) == {4}
    assert all(variable.trainable for variable in model.trainable_variables)
    for ours, theirs in zip(model.get_weights(), slow.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("devices", [("CPU:0",), ("CPU:0", "CPU:1")])
def test_the_backbone_learns_afterwards(devices):
    model, moved = fit_anew(3, *devices)
    assert moved > 1e-3
    assert set(model.optimizer.counts) == {2, 4}


def test_a_run_that_stops_after_the_head_goes_on_alike():
    whole, _ = fit_anew(3, "CPU:0")
    first, _ = fit_anew(1, "CPU:0")
    rest, _ = fit(3, done=1, weights=state_of(first))
    assert set(rest.optimizer.counts) == {4}
    for ours, theirs in zip(rest.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
