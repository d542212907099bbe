"""Rows of vectors inside a graph, searched by cosine."""

import numpy as np
import tensorflow as tf

from tf_prompt.data.vectors import nearest_rows, row_lengths, unit_rows

# Of a table in a SavedModel, which a server holds in memory; at 384 numbers a
# prompt, 699,050 prompts.
MAX_TABLE_BYTES = 2**30


class Table(tf.Module):
    """Rows that are compared with vectors, and what each stands for.

    A table above `MAX_TABLE_BYTES` stays where it is, in memory or on disk, and is
    searched block by block outside the graph, which cannot be exported then.

    Args:
        rows: float `(rows, depth)`, any length of vector; may be a memory map.
        values: arrays or lists of texts, each `rows` long.
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
        # Variables, not constants: a graph is limited to 2 GB.
        self._rows = tf.Variable(unit_rows(rows), trainable=False)
        self._values = [
            tf.Variable(np.asarray(v, np.float32), trainable=False)
            if isinstance(v, np.ndarray)
            else tf.constant(v)
            for v in values
        ]

    def require_exportable(self) -> None:
        """Checks that a graph holds the table.

        Raises:
            ValueError: if it is larger than `MAX_TABLE_BYTES`.
        """
        if self._outside:
            raise ValueError(
                f"a table must have at most {MAX_TABLE_BYTES:,} bytes to be exported. "
                f"Received: {self._num_bytes:,} bytes in {self._num_rows:,} rows"
            )

    def nearest(self, vectors, k: int = 1):
        """Finds the rows of highest cosine.

        Args:
            vectors: float32 `(batch, depth)`, any length.
            k: int > 0.

        Returns:
            rows: int32 `(batch, k)`, the most similar first; cosines: float32
            `(batch, k)`; then the values of these rows, `(batch, k, …)`.
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
    """Gives vectors `(batch, depth)` unit length, in float32; zeros stay zeros."""
    vectors = tf.cast(vectors, tf.float32)
    lengths = tf.norm(vectors, axis=-1, keepdims=True)
    return vectors / tf.maximum(lengths, 1e-12)
