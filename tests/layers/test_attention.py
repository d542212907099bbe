import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tf_prompt.layers.attention import AdditiveAttention


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_layer_contract():
    context, weights = checks.check_layer(
        AdditiveAttention(4), random(2, 6), random(2, 5, 3)
    )
    assert context.shape == (2, 3)
    assert weights.shape == (2, 5)
    np.testing.assert_allclose(tf.reduce_sum(weights, axis=-1), [1, 1], atol=1e-6)


def test_weights_follow_the_equation():
    layer = AdditiveAttention(1)
    layer.build((1, 1), (1, 2, 1))
    # Scores tanh(state + region): state 0, regions 0 and 1 give e^0 : e^tanh(1).
    one, zero = np.ones((1, 1)), np.zeros(1)
    layer.set_weights([one, zero, one, zero, one, zero])
    context, weights = layer(np.zeros((1, 1)), np.array([[[0.0], [1.0]]]))
    second = np.exp(np.tanh(1)) / (1 + np.exp(np.tanh(1)))
    np.testing.assert_allclose(weights, [[1 - second, second]], rtol=1e-6)
    np.testing.assert_allclose(context, [[second]], rtol=1e-6)


def test_given_keys_change_nothing():
    layer = AdditiveAttention(4)
    state, regions = random(2, 6), random(2, 5, 3)
    context, _ = layer(state, regions)
    again, _ = layer(state, regions, layer.project_regions(regions))
    np.testing.assert_array_equal(context, again)


def test_float16_stays_finite():
    context, _ = AdditiveAttention(4, dtype="float16")(
        100 * random(2, 6), 100 * random(2, 5, 3)
    )
    assert context.dtype == "float16"
    assert np.isfinite(context).all()


def test_units_must_be_positive():
    with pytest.raises(ValueError, match="`units` must be positive. Received: units=0"):
        AdditiveAttention(0)
