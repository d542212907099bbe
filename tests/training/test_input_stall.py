"""A pipeline that is slower than the model, and one that is not."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.training.input_stall import InputStall
from tf_prompt.training.strategy import build_strategy


def measure(read_seconds, train_seconds):
    """The share of an epoch in which a step waits for its batch."""

    class Slow(keras.layers.Layer):
        def call(self, x):
            slow = tf.numpy_function(self._wait, [x], tf.float32)
            return tf.ensure_shape(slow, x.shape)

        def _wait(self, x):
            time.sleep(train_seconds)
            return x

    def read(number):
        time.sleep(read_seconds)
        return np.float32(number)

    numbers = tf.data.Dataset.range(60).map(
        lambda n: tf.ensure_shape(tf.numpy_function(read, [n], tf.float32), ())
    )
    batches = numbers.map(lambda x: ([x], [x])).batch(1)
    with build_strategy(["CPU:0"]).scope():
        model = keras.Sequential([keras.Input((1,)), Slow(), keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
    stall = InputStall()
    stall.watch(model)
    logs = model.fit(batches.prefetch(2), shuffle=False, verbose=0, callbacks=[stall])
    assert "loss" in logs.history
    return stall._waited / stall._trained


@pytest.mark.parametrize(
    "read_seconds, train_seconds, low, high",
    # A step of 10 ms that needs a batch of 40 ms waits for 30 of 40 ms.
    [(0.04, 0.01, 0.6, 0.9), (0.0, 0.02, 0.0, 0.25)],
)
def test_share_of_waiting(read_seconds, train_seconds, low, high):
    assert low < measure(read_seconds, train_seconds) < high
