"""Sampling of tokens: temperature, top-k, top-p."""

import dataclasses
from collections.abc import Callable

from keras import ops

from tf_prompt.decoding.largest import largest, top_k
from tf_prompt.decoding.rules import NEVER
from tf_prompt.layers.picking import pick


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are sampled.

    Args:
        uniform: function of `position` and a shape that returns random floats in
            [0, 1), new ones for each position.
        temperature: float > 0; below 1 favours likely tokens.
        top_k: int >= 0, draws among the k most likely tokens; 0 among all.
        top_p: float in (0, 1], draws among the smallest set of most likely tokens
            whose total probability, after temperature, reaches this.

    Raises:
        ValueError: for a value out of its range.

    Reference: top-p is nucleus sampling, Holtzman et al., 2019,
    https://arxiv.org/abs/1904.09751, section 3.1. The draw is Gumbel's trick,
    Maddison et al., 2014, https://arxiv.org/abs/1411.0030, section 2.
    """

    uniform: Callable
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if self.temperature <= 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                "`temperature` must be positive, `top_k` not negative, `top_p` in "
                f"(0, 1]. Received: temperature={self.temperature}, "
                f"top_k={self.top_k}, top_p={self.top_p}"
            )

    def draw(self, logits, position):
        """Draws one token per row.

        Args:
            logits: float `(rows, vocab_size)`.
            position: int tensor.

        Returns:
            token_ids: int32 `(rows,)`.
            log_probs: float `(rows,)`, the model's, before temperature and cuts.
        """
        scaled = _cut(logits / self.temperature, self.top_k, self.top_p)
        noise = self.uniform(position, ops.shape(scaled))
        gumbel = -ops.log(-ops.log(ops.maximum(noise, 1e-20)) + 1e-20)
        token_ids = largest(scaled + gumbel)
        chosen = pick(logits, token_ids[:, None])[:, 0]
        return token_ids, chosen - ops.logsumexp(logits, axis=-1)


def _cut(logits, top_k_tokens, top_p):
    vocab_size = logits.shape[-1]
    if top_k_tokens and top_k_tokens < vocab_size:
        least = top_k(logits, top_k_tokens)[0][:, -1:]
        logits = ops.where(logits < least, NEVER, logits)
    if top_p < 1:
        ranked = ops.top_k(logits, vocab_size)[0]
        probs = ops.softmax(ranked)
        # The token that reaches the sum is kept: compare the sum before it.
        kept = ops.cumsum(probs, axis=-1) - probs < top_p
        last = ops.sum(ops.cast(kept, "int32"), axis=-1, keepdims=True) - 1
        least = pick(ranked, last)
        logits = ops.where(logits < least, NEVER, logits)
    return logits
