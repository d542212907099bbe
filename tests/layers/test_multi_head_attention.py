"""Training equals KerasHub's own attention: outputs, weights and gradients."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.layers.multi_head_attention import MultiHeadAttention


def random(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def build(layer_class, dropout=0.0, dtype=None, value=(2, 5, 6)):
    layer = layer_class(num_heads=2, key_dim=3, dropout=dropout, seed=1, dtype=dtype)
    layer.build((2, 4, 8), value)
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(0, 0.5, w.shape) for w in layer.weights])
    return layer


def run(layer, mask=None, **options):
    query, value = tf.constant(random(2, 4, 8)), tf.constant(random(2, 5, 6))
    with tf.GradientTape() as tape:
        tape.watch([query, value])
        output = layer(query, value, attention_mask=mask, training=True, **options)
        total = tf.reduce_sum(output**2)
    return [output, *tape.gradient(total, [query, value, *layer.trainable_weights])]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_training_equals_keras_hub(masked, dropout):
    mask = np.tril(np.ones((1, 4, 5), bool)) if masked else None
    found = run(build(MultiHeadAttention, dropout), mask)
    theirs = build(keras_hub.layers.CachedMultiHeadAttention, dropout)
    for one, other in zip(found, run(theirs, mask), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_attention_to_itself_equals_keras_hub():
    tokens, mask = tf.constant(random(2, 4, 8)), np.tril(np.ones((1, 4, 4), bool))
    results = []
    for layer_class in (MultiHeadAttention, keras_hub.layers.CachedMultiHeadAttention):
        layer = build(layer_class, value=(2, 4, 8))
        with tf.GradientTape() as tape:
            output = layer(tokens, tokens, attention_mask=mask, training=True)
            total = tf.reduce_sum(output**2)
        results.append([output, *tape.gradient(total, layer.trainable_weights)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_weights_sum_to_one_and_hide_what_is_masked():
    layer, mask = build(MultiHeadAttention), np.tril(np.ones((1, 4, 5), bool))
    _, weights = layer(
        random(2, 4, 8),
        random(2, 5, 6),
        attention_mask=mask,
        return_attention_scores=True,
        training=True,
    )
    np.testing.assert_allclose(np.sum(weights, axis=-1), np.ones((2, 2, 4)), rtol=1e-5)
    assert not np.asarray(weights)[:, :, ~mask[0]].any()


def test_float16_stays_finite():
    layer = build(MultiHeadAttention, dtype=keras.DTypePolicy("mixed_float16"))
    mask = np.tril(np.ones((1, 4, 5), bool))
    output = layer(
        30 * random(2, 4, 8), random(2, 5, 6), attention_mask=mask, training=True
    )
    assert output.dtype == tf.float16
    assert np.isfinite(output).all()
