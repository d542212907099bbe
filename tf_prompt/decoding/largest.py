"""The likeliest tokens of each row of scores, found in few passes over them."""

from keras import ops

from tf_prompt.layers.picking import pick

# Numbers in a block of `top_k`, at least.
_BLOCK = 64


def top_k(x, k):
    """Finds the `k` largest numbers of each row, as `ops.top_k` does, only faster.

    TensorFlow's own takes 20 ms for 64 rows of 46,664 numbers on two cores, where
    a maximum takes one. The largest of all lie in the `k` blocks whose maxima are
    largest, and only those are searched.

    Args:
        x: float `(rows, n)`.
        k: int in [1, n].

    Returns:
        values: `(rows, k)`, largest first; of equal ones the first in the row.
        indices: int32 `(rows, k)`.
    """
    n = x.shape[-1]
    # A width that divides `n` saves a padded copy.
    width = next((w for w in range(4 * _BLOCK, _BLOCK - 1, -1) if n % w == 0), _BLOCK)
    if n < 8 * _BLOCK or k >= n // width:
        values, indices = ops.top_k(x, k)
        return values, ops.cast(indices, "int32")
    if n % width:
        missing = width - n % width
        x = ops.pad(x, [[0, 0], [0, missing]], constant_values=float("-inf"))
    blocks = ops.reshape(x, (-1, x.shape[-1] // width, width))
    _, chosen = ops.top_k(ops.max(blocks, axis=-1), k)
    # In order of place, so that of equal numbers the first comes first.
    chosen = ops.cast(ops.sort(chosen, axis=-1), "int32")
    candidates = ops.reshape(pick(blocks, chosen), (-1, k * width))
    places = chosen[:, :, None] * width + ops.arange(width)
    values, order = ops.top_k(candidates, k)
    return values, pick(ops.reshape(places, (-1, k * width)), order)


def largest(x):
    """Where the largest number of each row is: int32 `(rows,)`."""
    # ops.argmax takes twice as long for 64 rows: it tells -0 from 0 by their bits.
    return top_k(x, 1)[1][:, 0]


def log_probs_of_largest(logits, token_ids):
    """Log-probability of each row's likeliest token, float `(rows,)`.

    A softmax is one pass over the logits, a log-sum-exp five. It is exact only
    where it cannot vanish: the largest of `n` is at least `1 / n`.
    """
    probs = ops.softmax(logits)
    return ops.log(pick(probs, token_ids[:, None])[:, 0])
