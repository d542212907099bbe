"""Lets KerasHub decode with operations that every TensorFlow build has."""

import contextlib
from collections.abc import Iterator

from keras import ops


@contextlib.contextmanager
def portable_updates() -> Iterator[None]:
    """Makes KerasHub write its caches with operations that TF Serving has.

    `keras.ops.slice_update` is an operation of XLA. Here it writes along the second
    axis: one row anywhere, or several from the first.
    """

    def update(inputs, start_indices, updates):
        if updates.shape[1] == 1:
            here = ops.arange(inputs.shape[1]) == start_indices[1]
            shape = (1, -1, *[1] * (len(inputs.shape) - 2))
            return ops.where(ops.reshape(here, shape), updates, inputs)
        rest = inputs[:, ops.shape(updates)[1] :]
        return ops.concatenate([updates, rest], axis=1)

    before, ops.slice_update = ops.slice_update, update
    try:
        yield
    finally:
        ops.slice_update = before
