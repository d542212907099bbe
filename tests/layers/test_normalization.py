"""Training equals Keras' own layers: outputs and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.layers import normalization


def random(*shape):
    return np.random.default_rng(1).normal(2, 3, size=shape).astype("float32")


def run(layer, x, training):
    """Output, and the gradients of the input and of both weights."""
    x, mixed = tf.constant(x), tf.constant(random(*x.shape)[::-1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x, **training)
        total = tf.reduce_sum(output * mixed)
    return [output, *tape.gradient(total, [x, *layer.trainable_weights])]


@pytest.mark.parametrize(
    "name, arguments, shape",
    [
        ("LayerNormalization", {"epsilon": 1e-5}, (3, 5, 8)),
        ("LayerNormalization", {"epsilon": 1e-5}, (3, 8)),
        ("GroupNormalization", {"groups": 2}, (3, 4, 5, 8)),
        ("GroupNormalization", {"groups": 8}, (3, 4, 5, 8)),
    ],
)
def test_training_equals_keras(name, arguments, shape):
    ours = getattr(normalization, name)(**arguments)
    theirs = getattr(keras.layers, name)(**arguments)
    for layer in (ours, theirs):
        layer.build(shape)
        layer.set_weights([random(8), random(8)[::-1]])
    found = run(ours, random(*shape), {"training": True})
    for one, other in zip(found, run(theirs, random(*shape), {}), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)
    # Outside of training they are Keras' own, bit for bit.
    for one, other in zip(
        run(ours, random(*shape), {"training": False}),
        run(theirs, random(*shape), {}),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "layer",
    [
        normalization.LayerNormalization(dtype="mixed_float16"),
        normalization.GroupNormalization(groups=4, dtype="mixed_float16"),
    ],
)
def test_float16_stays_finite(layer):
    output = layer(100 * random(2, 4, 4, 8), training=True)
    assert output.dtype == tf.float16
    assert np.isfinite(output).all()
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
