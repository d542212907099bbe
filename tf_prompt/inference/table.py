"""Rows of vectors inside a graph, searched by cosine."""

import numpy as np
import tensorflow as tf

from tf_prompt.data.vectors import unit_rows

# Of a table in a SavedModel, which a server holds in memory; at 384 numbers a
# prompt, 699,050 prompts.
MAX_TABLE_BYTES = 2**30


class Table(tf.Module):
    """Rows that are compared with vectors, and what each stands for.

    Args:
        rows: float `(rows, depth)`, any length of vector.
        values: arrays or lists of texts, each `rows` long.

    Raises:
        ValueError: if all that is larger than `MAX_TABLE_BYTES`.
    """

    def __init__(self, rows: np.ndarray, *values):
        super().__init__()
        sizes = [4 * v.size for v in (rows, *values) if isinstance(v, np.ndarray)]
        if sum(sizes) > MAX_TABLE_BYTES:
            raise ValueError(
                f"a table must have at most {MAX_TABLE_BYTES:,} bytes to be exported. "
                f"Received: {sum(sizes):,} bytes in {len(rows):,} rows"
            )
        # Variables, not constants: a graph is limited to 2 GB.
        self._rows = tf.Variable(unit_rows(rows), trainable=False)
        self._values = [
            tf.Variable(np.asarray(v, np.float32), trainable=False)
            if isinstance(v, np.ndarray)
            else tf.constant(v)
            for v in values
        ]

    def nearest(self, vectors, k: int = 1):
        """Finds the rows of highest cosine.

        Args:
            vectors: float32 `(batch, depth)`, any length.
            k: int > 0.

        Returns:
            rows: int32 `(batch, k)`, the most similar first; cosines: float32
            `(batch, k)`; then the values of these rows, `(batch, k, …)`.
        """
        products = tf.matmul(to_unit(vectors), self._rows, transpose_b=True)
        cosines, rows = tf.math.top_k(products, k)
        return rows, cosines, *(tf.gather(value, rows) for value in self._values)


def to_unit(vectors):
    """Gives vectors `(batch, depth)` unit length, in float32; zeros stay zeros."""
    vectors = tf.cast(vectors, tf.float32)
    lengths = tf.norm(vectors, axis=-1, keepdims=True)
    return vectors / tf.maximum(lengths, 1e-12)
