"""What Keras reads of the data of a model that is built before `fit`."""

import keras
import numpy as np
import tensorflow as tf

from tf_prompt.training import building


def test_each_pass_reads_the_data_once():
    """Keras by itself starts each pass twice, and leaves the first one midway."""
    starts = []

    def read():
        starts.append(None)
        yield from np.ones((3, 4, 2), "float32")

    spec = tf.TensorSpec((None, 2), tf.float32)
    batches = tf.data.Dataset.from_generator(read, output_signature=spec)
    length = tf.data.experimental.assert_cardinality(3)
    pairs = batches.map(lambda x: (x, x)).apply(length)
    reduction = tf.distribute.ReductionToOneDevice()
    with tf.distribute.MirroredStrategy(["CPU:0"], reduction).scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
    building.build_once(model, pairs)
    model.fit(pairs, epochs=2, validation_data=pairs, shuffle=False, verbose=0)
    assert len(starts) == 4
