import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.layers import word_loss
from tf_prompt.layers.word_loss import word_losses

BATCH, TOKENS, WIDTH, VOCABULARY = 3, 5, 4, 11


def draw():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(BATCH, TOKENS, WIDTH)).astype("float32")
    kernel = rng.normal(size=(WIDTH, VOCABULARY)).astype("float32")
    bias = rng.normal(size=VOCABULARY).astype("float32")
    targets = rng.integers(0, VOCABULARY, (BATCH, TOKENS))
    weights = rng.random((BATCH, TOKENS)).astype("float32")
    return (*map(tf.Variable, (hidden, kernel, bias)), targets, weights)


# Blocks of one word, of four with a rest, of all.
@pytest.mark.parametrize("max_scores", [1, 4 * VOCABULARY, 1000])
def test_losses_and_gradients_are_those_of_tensorflow(max_scores):
    *variables, targets, weights = draw()

    @tf.function(autograph=False)
    def ours():
        with tf.GradientTape() as tape:
            losses, hits = word_losses(*variables, targets, max_scores)
            total = tf.reduce_sum(losses * weights)
        return losses, hits, tape.gradient(total, variables)

    with tf.GradientTape() as tape:
        logits = tf.matmul(variables[0], variables[1]) + variables[2]
        expected = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        total = tf.reduce_sum(expected * weights)
    losses, hits, gradients = ours()
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(hits, tf.argmax(logits, axis=-1) == targets)
    for found, true in zip(gradients, tape.gradient(total, variables), strict=True):
        np.testing.assert_allclose(found, true, atol=1e-5)


def test_keras_variables_outside_a_graph():
    hidden, _, _, targets, _ = draw()
    layer = keras.layers.Dense(VOCABULARY)
    layer.build((None, WIDTH))

    def total():
        losses, _ = word_losses(hidden, layer.kernel, layer.bias, targets)
        return tf.reduce_sum(losses)

    def differentiate():
        with tf.GradientTape() as tape:
            found = total()
        return tape.gradient(found, layer.trainable_variables)

    np.testing.assert_allclose(total(), tf.function(total)(), rtol=1e-6)
    pairs = zip(differentiate(), tf.function(differentiate)(), strict=True)
    for outside, inside in pairs:
        np.testing.assert_allclose(outside, inside, atol=1e-6)


@pytest.mark.parametrize("max_scores", [4 * VOCABULARY, 1000])
def test_smoothed_labels_are_those_of_tensorflow(max_scores):
    *variables, targets, weights = draw()
    with tf.GradientTape() as tape:
        losses, _ = word_losses(*variables, targets, max_scores, label_smoothing=0.1)
        total = tf.reduce_sum(losses * weights)
    gradients = tape.gradient(total, variables)
    with tf.GradientTape() as tape:
        logits = tf.matmul(variables[0], variables[1]) + variables[2]
        labels = 0.9 * tf.one_hot(targets, VOCABULARY) + 0.1 / VOCABULARY
        expected = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
        total = tf.reduce_sum(expected * weights)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for found, true in zip(gradients, tape.gradient(total, variables), strict=True):
        np.testing.assert_allclose(found, true, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_scored_at_once_they_are_the_same(monkeypatch, smoothing):
    *variables, targets, weights = draw()

    def run():
        with tf.GradientTape() as tape:
            found = word_losses(*variables, targets, label_smoothing=smoothing)
            total = tf.reduce_sum(found[0] * weights)
        return *found, *map(tf.convert_to_tensor, tape.gradient(total, variables))

    expected = run()
    # As with other backends.
    monkeypatch.setattr(word_loss, "IN_BLOCKS", False)
    for at_once, in_blocks in zip(run(), expected, strict=True):
        np.testing.assert_allclose(at_once, in_blocks, atol=1e-5)


# Layers of mixed precision see their variables in half precision too.
@pytest.mark.parametrize("halves", [1, 3])
def test_half_precision_stays_close(halves):
    *variables, targets, weights = draw()

    def run(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            losses, _ = word_losses(*inputs, targets)
            assert losses.dtype == "float32"
            total = tf.reduce_sum(losses * weights)
        return losses, tape.gradient(total, inputs)

    variables = [tf.convert_to_tensor(x) for x in variables]
    inputs = [tf.cast(x, "float16") for x in variables[:halves]] + variables[halves:]
    (losses, gradients), (expected, true) = run(inputs), run(variables)
    np.testing.assert_allclose(losses, expected, atol=0.02)
    for x, ours, theirs in zip(inputs, gradients, true, strict=True):
        assert ours.dtype == x.dtype
        np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_a_batch_of_nothing_has_no_losses_and_no_gradients():
    *variables, targets, _ = draw()
    target_ids = tf.constant(targets)

    @tf.function(autograph=False)
    def ours(num_examples):
        with tf.GradientTape() as tape:
            hidden, ids = variables[0][:num_examples], target_ids[:num_examples]
            losses, hits = word_losses(hidden, *variables[1:], ids)
            total = tf.reduce_sum(losses)
        return losses, hits, tape.gradient(total, variables)

    losses, hits, gradients = ours(tf.constant(0))
    assert losses.shape == hits.shape == (0, TOKENS)
    for gradient in gradients:
        assert not np.any(tf.convert_to_tensor(gradient))
