"""Picks entries of each row by their index."""

from keras import ops


def pick(x, index):
    """Takes entries along axis 1, different ones for each row.

    `ops.take_along_axis` does the same, but on TensorFlow it first transposes all of
    `x`, which for the scores of 48 rows takes as long as their matrix product.

    Args:
        x: tensor `(rows, n, …)`, with all but `rows` known when the graph is built.
        index: int tensor `(rows, k)`, in [0, n).

    Returns:
        Tensor `(rows, k, …)`.
    """
    first = ops.arange(ops.shape(x)[0])[:, None] * x.shape[1]
    flat = ops.reshape(x, (-1, *x.shape[2:]))
    return ops.take(flat, first + ops.cast(index, "int32"), axis=0)
