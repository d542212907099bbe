"""Encodes the original prompts of records inside tf.data, with a Python tokenizer."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.data import text


def encode_records(
    encode_all: Callable[[Sequence[str]], Sequence[Sequence[int]]], fold_case: bool
) -> Callable:
    """Builds the function that a raw prompt vocabulary returns from `reader`.

    Args:
        encode_all: function from tidy prompts to the ids of each.
        fold_case: whether prompts are converted to lower case.

    Returns:
        Function from serialised records, string `(rows,)`, to ragged int32
        `(rows, tokens)`, not truncated.
    """

    def encode(prompts):
        tidy = [text.tidy(p.decode(errors="replace"), fold_case) for p in prompts]
        rows = encode_all(tidy)
        lengths = np.array([len(row) for row in rows], np.int64)
        return np.array([i for row in rows for i in row], np.int32), lengths

    def read(records):
        feature = {"prompt": tf.io.FixedLenFeature((), tf.string)}
        prompts = tf.io.parse_example(records, feature)["prompt"]
        ids, lengths = tf.numpy_function(
            encode, [prompts], [tf.int32, tf.int64], stateful=False
        )
        ids, lengths = (tf.ensure_shape(x, (None,)) for x in (ids, lengths))
        return tf.RaggedTensor.from_row_lengths(ids, lengths, validate=False)

    return read
