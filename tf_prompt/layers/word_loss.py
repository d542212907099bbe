"""Cross-entropy over a large vocabulary, computed in blocks of words."""

import keras
from keras import ops

from tf_prompt.layers.picking import pick

# Scores held at once, 64 MB in float32.
MAX_SCORES = 2**24
# Other backends call a gradient of one's own with other arguments, PyTorch's for a
# single output only.
IN_BLOCKS = keras.config.backend() == "tensorflow"


def word_losses(
    hidden, kernel, bias, target_ids, max_scores=MAX_SCORES, label_smoothing=0.0
):
    """Computes the cross-entropy and the hit of each word for a dense output layer.

    The scores of all words of a batch, and their gradients, can need more memory than
    everything else in a step. Here one block of words is scored at a time; the backward
    pass scores it again, and keeps only sums of the kernel's size. With backends other
    than TensorFlow all words are scored at once.

    Args:
        hidden: float tensor `(batch, tokens, width)`, inputs of the dense layer.
        kernel: float tensor `(width, vocab_size)`; its gradient is summed in float32.
        bias: float tensor `(vocab_size,)`, as `kernel`.
        target_ids: int tensor `(batch, tokens)`.
        max_scores: int > 0, number of scores held at once.
        label_smoothing: float in [0, 1), share of the target's probability that is
            spread evenly over the vocabulary.

    Returns:
        losses: float32 `(batch, tokens)`, negative log-probability of the target, or
            the cross-entropy with the smoothed target.
        hits: float32 `(batch, tokens)`, 1 if no other token scores higher.

    Reference: Szegedy et al., 2015, https://arxiv.org/abs/1512.00567, section 7, for
    `label_smoothing`.
    """
    shape = ops.shape(target_ids)
    hidden = ops.reshape(hidden, (-1, kernel.shape[0]))
    target_ids = ops.reshape(ops.cast(target_ids, "int32"), (-1,))
    # No variables: TensorFlow's custom gradients refuse them outside a graph.
    kernel, bias = (ops.reshape(x, x.shape) for x in (kernel, bias))
    if IN_BLOCKS:
        most = max(max_scores // kernel.shape[1], 1)
        losses, hits = _losses(target_ids, most, label_smoothing)(hidden, kernel, bias)
    else:
        scores = _score(hidden, kernel, bias)
        losses, hits, _ = _look(scores, target_ids, label_smoothing)
    return ops.reshape(losses, shape), ops.reshape(hits, shape)


def _losses(target_ids, most, smoothing):
    """Builds the function of `hidden`, `(words, width)`, kernel and bias.

    Args:
        target_ids: int32 `(words,)`.
        most: int > 0, maximum number of words in a block.
        smoothing: see `word_losses`.
    """

    @ops.custom_gradient
    def forward(hidden, kernel, bias):
        count = ops.shape(hidden)[0]
        # Blocks of equal size, with as little padding as possible.
        num_blocks = ops.maximum(-(-count // most), 1)
        # At least one row, because some replicas get no example of a short last batch.
        rows = ops.maximum(-(-count // num_blocks), 1)
        blocks = tuple(_blocks(x, num_blocks, rows) for x in (hidden, target_ids))

        def look(block):
            return _look(_score(block[0], kernel, bias), block[1], smoothing)

        losses, hits, totals = ops.map(look, blocks)

        def gradient(of_losses, of_hits):
            weights = _blocks(of_losses, num_blocks, rows)
            sums = _sum_gradients(*blocks, totals, weights, kernel, bias, smoothing)
            sums[0] = ops.reshape(sums[0], (-1, kernel.shape[0]))[:count]
            pairs = zip(sums, (hidden, kernel, bias), strict=True)
            return tuple(ops.cast(x, like.dtype) for x, like in pairs)

        flat = (ops.reshape(x, (-1,))[:count] for x in (losses, hits))
        return tuple(flat), gradient

    return forward


def _score(hidden, kernel, bias):
    """Scores of a block, float32 `(rows, vocab_size)`, computed as the layer does."""
    scores = ops.matmul(hidden, ops.cast(kernel, hidden.dtype))
    return ops.cast(scores + ops.cast(bias, hidden.dtype), "float32")


def _look(scores, target_ids, smoothing):
    """Loss, hit and logarithm of the sum of exponentials: float32 `(rows,)` each."""
    total = ops.logsumexp(scores, axis=-1)
    target = pick(scores, target_ids[:, None])[:, 0]
    hit = ops.cast(target >= ops.max(scores, axis=-1), "float32")
    if smoothing:
        mean = ops.mean(scores, axis=-1)
        target = target + smoothing * (mean - target)
    return total - target, hit, total


def _blocks(x, num_blocks, rows):
    """Divides the first axis into blocks of `rows`, padding the last with zeros."""
    missing = num_blocks * rows - ops.shape(x)[0]
    filled = ops.pad(x, [[0, missing], *[[0, 0]] * (len(x.shape) - 1)])
    return ops.reshape(filled, (-1, rows, *x.shape[1:]))


def _sum_gradients(hidden, target_ids, totals, weights, kernel, bias, smoothing):
    """Gradients of the weighted losses: of `hidden` by blocks, kernel and bias."""
    num_blocks = ops.shape(hidden)[0]
    vocab = ops.arange(kernel.shape[1])

    def advance(block, of_hidden, of_kernel, of_bias):
        scores = _score(hidden[block], kernel, bias)
        errors = ops.exp(scores - totals[block][:, None])
        targets = ops.cast(target_ids[block][:, None] == vocab, "float32")
        if smoothing:
            targets = targets + smoothing * (1 / kernel.shape[1] - targets)
        errors = errors - targets
        errors = errors * weights[block][:, None]
        of_bias = of_bias + ops.sum(errors, axis=0)
        errors = ops.cast(errors, hidden.dtype)
        back = ops.matmul(errors, ops.transpose(ops.cast(kernel, hidden.dtype)))
        of_hidden = ops.scatter_update(of_hidden, [[block]], back[None])
        product = ops.matmul(ops.transpose(hidden[block]), errors)
        return block + 1, of_hidden, of_kernel + ops.cast(product, "float32"), of_bias

    _, *sums = ops.while_loop(
        lambda block, *_: block < num_blocks,
        advance,
        (0, ops.zeros_like(hidden), *(ops.zeros(x.shape) for x in (kernel, bias))),
    )
    return sums
