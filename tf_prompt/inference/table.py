"""A table of vectors inside a graph, searched by cosine."""

import numpy as np
import tensorflow as tf

from tf_prompt.data.vectors import nearest_rows, row_lengths, unit_rows

# Largest table in a SavedModel, which a server holds in memory: 699,050 prompts of 384
# numbers.
MAX_TABLE_BYTES = 2**30


class Table(tf.Module):
    """Rows to compare vectors with, and the values of each row.

    A table above `MAX_TABLE_BYTES` stays in memory or on disk and is searched block by
    block outside of the graph; it cannot be exported.

    Args:
        rows: float `(rows, depth)`, vectors of any length; may be a memory map.
        *values: arrays or lists of texts, each `rows` long.
    """

    def __init__(self, rows: np.ndarray, *values):
        super().__init__()
        sizes = [4 * v.size for v in (rows, *values) if isinstance(v, np.ndarray)]
        self._num_rows, self._num_bytes = len(rows), sum(sizes)
        self._outside = self._num_bytes > MAX_TABLE_BYTES
        if self._outside:
            self._rows, self._lengths = rows, row_lengths(rows)
            self._values = [
                v if isinstance(v, np.ndarray) else np.array(v, object) for v in values
            ]
            return
        # Variables, not constants, because a graph is limited to 2 GB.
        self._rows = tf.Variable(unit_rows(rows), trainable=False)
        self._values = [
            tf.Variable(np.asarray(v, np.float32), trainable=False)
            if isinstance(v, np.ndarray)
            else tf.constant(v)
            for v in values
        ]

    def require_exportable(self) -> None:
        """Checks that the table can be part of a graph.

        Raises:
            ValueError: if it is larger than `MAX_TABLE_BYTES`.
        """
        if self._outside:
            raise ValueError(
                f"a table must have at most {MAX_TABLE_BYTES:,} bytes to be exported. "
                f"Received: {self._num_bytes:,} bytes in {self._num_rows:,} rows"
            )

    def nearest(self, vectors, k: int = 1):
        """Finds the rows with the highest cosine.

        Args:
            vectors: float32 `(batch, depth)`, of any length.
            k: int > 0, number of rows.

        Returns:
            rows: int32 `(batch, k)`, the most similar first.
            cosines: float32 `(batch, k)`.
            *values: the values of these rows, each `(batch, k, …)`.
        """
        if self._outside:
            return self._nearest_outside(vectors, k)
        products = tf.matmul(to_unit(vectors), self._rows, transpose_b=True)
        cosines, rows = tf.math.top_k(products, k)
        return rows, cosines, *(tf.gather(value, rows) for value in self._values)

    def _nearest_outside(self, vectors, k):
        def search(queries):
            rows, cosines = nearest_rows(queries, self._rows, k, self._lengths)
            found = [np.asarray(value[rows]) for value in self._values]
            return rows.astype(np.int32), cosines, *found

        kinds = [tf.string if v.dtype == object else tf.float32 for v in self._values]
        found = tf.numpy_function(search, [vectors], [tf.int32, tf.float32, *kinds])
        widths = [(), (), *(value.shape[1:] for value in self._values)]
        return tuple(
            tf.ensure_shape(part, (None, k, *width))
            for part, width in zip(found, widths, strict=True)
        )


def to_unit(vectors):
    """Normalises vectors `(batch, depth)`, as float32; zeros stay zeros."""
    vectors = tf.cast(vectors, tf.float32)
    lengths = tf.norm(vectors, axis=-1, keepdims=True)
    return vectors / tf.maximum(lengths, 1e-12)
