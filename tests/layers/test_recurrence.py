"""The deferred gradient against TensorFlow's own, through the same loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tf_prompt.layers import recurrence
from tf_prompt.layers.recurrence import DeferredProduct

rng = np.random.default_rng(0)
KERNEL = tf.constant(rng.normal(size=(3, 3)) * 0.5, tf.float32)
ADDENDS = tf.constant(rng.normal(size=(5, 2, 3)), tf.float32)


def run_plainly(addends, kernel):
    state, outputs = tf.zeros((2, 3)), []
    for addend in tf.unstack(addends):
        state = tf.tanh(state @ kernel + addend)
        outputs.append(state)
    return tf.stack(outputs)


def run_deferred(addends, kernel):
    product = DeferredProduct(kernel)
    first = tf.zeros((2, 3))

    def advance(state, addend):
        state = ops.tanh(ops.matmul(state, product.frozen) + addend)
        return state, state

    _, outputs = ops.scan(advance, first, product.attach(addends))
    product.record(ops.concatenate([first[None], outputs[:-1]]))
    return outputs


def gradients(run):
    with tf.GradientTape() as tape:
        tape.watch((ADDENDS, KERNEL))
        outputs = run(ADDENDS, KERNEL)
        total = tf.reduce_sum(outputs**2 * tf.range(1.0, 4.0))
    return outputs, *tape.gradient(total, (ADDENDS, KERNEL))


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
def test_deferred_gradient_is_the_plain_one(in_graph):
    assert keras.backend.backend() == "tensorflow"
    run = tf.function(gradients, autograph=False) if in_graph else gradients
    found = run(run_deferred)
    for ours, theirs in zip(found, gradients(run_plainly), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_backends_that_defer_nothing_get_the_same_gradient(monkeypatch):
    monkeypatch.setattr(recurrence, "DEFERS", False)
    found, expected = gradients(run_deferred), gradients(run_plainly)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
