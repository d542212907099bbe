import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.layers.picking import pick


@pytest.mark.parametrize("shape", [(3, 7), (3, 7, 2), (1, 1), (0, 4)])
def test_picks_as_numpy_does(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype("float32")
    index = rng.integers(0, shape[1], (shape[0], 5))
    # Rows are not known when the graph is built.
    specs = [tf.TensorSpec((None, *shape[1:])), tf.TensorSpec((None, 5), tf.int64)]
    found = tf.function(pick, specs, autograph=False)(x, index)
    expected = np.take_along_axis(
        x, index.reshape(*index.shape, *[1] * (len(shape) - 2)), axis=1
    )
    np.testing.assert_array_equal(found, expected)
