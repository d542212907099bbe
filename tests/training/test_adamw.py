"""The one-pass AdamW against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.training.optimizers import OnePassAdamW

ARGUMENTS = {"learning_rate": 0.1, "weight_decay": 0.02, "global_clipnorm": 1.0}


def train(optimizer_class, devices=("CPU:0",)):
    keras.utils.set_random_seed(0)
    # Not collectives: those of two strategies in one process get mixed up.
    reduction = tf.distribute.ReductionToOneDevice()
    with tf.distribute.MirroredStrategy(list(devices), reduction).scope():
        model = keras.Sequential(
            [keras.Input((2,)), keras.layers.Embedding(5, 3), keras.layers.Dense(2)]
        )
        model.compile(optimizer_class(**ARGUMENTS), "mse")
    inputs = tf.constant([[0, 1], [2, 2], [4, 1], [0, 3]])
    targets = tf.reshape(tf.range(16.0), (4, 2, 2))
    model.fit(inputs, targets, batch_size=4, epochs=4, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("devices", [["CPU:0"], ["CPU:0", "CPU:1"]], ids=len)
def test_one_pass_updates_as_keras_does(devices):
    # On one device: on two, Keras clips the gradients of each, not their sum.
    expected = train(keras.optimizers.AdamW)
    for ours, theirs in zip(train(OnePassAdamW, devices), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_config_builds_the_same():
    optimizer = OnePassAdamW(**ARGUMENTS)
    assert OnePassAdamW.from_config(optimizer.get_config()).weight_decay == 0.02
