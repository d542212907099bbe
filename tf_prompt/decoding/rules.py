"""Constraints on decoding: banned tokens, repetitions, a minimum length."""

import dataclasses

import numpy as np
from keras import ops

from tf_prompt.layers.picking import pick

# Far below any log-probability, but finite: infinities would cause NaN.
NEVER = -1e9


@dataclasses.dataclass(frozen=True)
class Rules:
    """Constraints on what may be written, whatever the model predicts.

    Args:
        banned_ids: ids that are never written.
        min_tokens: int >= 0, smallest number of tokens before the end token.
        repetition_penalty: float >= 1. Divides positive logits of tokens written
            before and multiplies negative ones; 1 changes nothing.
        no_repeat_ngram: int >= 0. No n-gram of this length occurs twice; 0 allows
            repetition.

    Raises:
        ValueError: for a value out of range.

    Reference: repetition penalty as in Keskar et al., 2019,
    https://arxiv.org/abs/1909.05858, section 4.1; n-grams as in Paulus et al.,
    2017, https://arxiv.org/abs/1705.04304, section 2.5.
    """

    banned_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0

    def __post_init__(self):
        if self.min_tokens < 0 or self.no_repeat_ngram < 0:
            raise ValueError(
                "`min_tokens` and `no_repeat_ngram` must not be negative. Received: "
                f"min_tokens={self.min_tokens}, no_repeat_ngram={self.no_repeat_ngram}"
            )
        if self.repetition_penalty < 1:
            raise ValueError(
                "`repetition_penalty` must be at least 1. "
                f"Received: repetition_penalty={self.repetition_penalty}"
            )

    def apply(self, logits, written, position, end_id):
        """Applies the constraints to the logits of the next token.

        Args:
            logits: float `(batch, vocab_size)`.
            written: int `(batch, max_tokens)`, of which the first `position` are
                written.
            position: int tensor.
            end_id: the end token.

        Returns:
            float32 `(batch, vocab_size)`, logits, very low for forbidden tokens.
        """
        logits = ops.cast(logits, "float32")
        if self.repetition_penalty != 1:
            logits = _penalise(logits, written, position, self.repetition_penalty)
        if self.no_repeat_ngram:
            logits += _ban_ngrams(logits, written, position, self.no_repeat_ngram)
        # One row of bans and one sum, because each pass over all logits costs as much
        # as finding the largest.
        bans = _bans(self.banned_ids, logits.shape[-1])
        if self.min_tokens:
            early = ops.cast(position < self.min_tokens, "float32")
            bans = bans + early * _bans((end_id,), logits.shape[-1])
        if self.banned_ids or self.min_tokens:
            logits += bans
        return logits


def _bans(token_ids, vocab_size):
    """`NEVER` at the given tokens and 0 elsewhere, float32 `(vocab_size,)`."""
    bans = np.zeros(vocab_size, "float32")
    bans[list(token_ids)] = NEVER
    return ops.convert_to_tensor(bans)


def _penalise(logits, written, position, penalty):
    old = pick(logits, written)
    new = ops.where(old > 0, old / penalty, old * penalty)
    is_written = (ops.arange(written.shape[1]) < position)[None]
    # Positions not yet written hold the end token, whose logit stays.
    new = ops.where(is_written, new, old)
    return ops.scatter_update(logits, _entries(written), ops.reshape(new, (-1,)))


def _ban_ngrams(logits, written, position, n):
    max_tokens = written.shape[1]
    if n > max_tokens:
        return ops.zeros_like(logits)
    starts = ops.arange(max_tokens - n + 1)
    windows = ops.take(written, starts[:, None] + ops.arange(n - 1)[None], axis=1)
    last = ops.take(
        written, ops.maximum(position - n + 1 + ops.arange(n - 1), 0), axis=1
    )
    same = ops.all(windows == last[:, None], axis=-1)
    same = ops.logical_and(same, (starts + n - 1 < position)[None])
    bans = ops.where(same, NEVER, 0.0)
    entries = _entries(written[:, n - 1 :])
    return ops.scatter(entries, ops.reshape(bans, (-1,)), ops.shape(logits))


def _entries(token_ids):
    """Pairs of row and token as indices, `(rows * tokens, 2)`."""
    rows = ops.zeros_like(token_ids) + ops.arange(ops.shape(token_ids)[0])[:, None]
    return ops.reshape(ops.stack([rows, token_ids], axis=-1), (-1, 2))
