"""Beam search on tensors: how live prompts grow, end and compete.

Live and ended prompts are pairs of ids, int32 `(batch, num_beams, max_tokens)`, and
scores, float32 `(batch, num_beams)`, `NEVER` if there is no prompt.
"""

from keras import ops

from tf_prompt.decoding.largest import log_probs_of_largest, top_k
from tf_prompt.decoding.rules import NEVER
from tf_prompt.layers.picking import pick


def begin(batch, num_beams, max_tokens, end_id):
    """Returns live and ended prompts, each `(ids, scores)`, before the first step."""
    ids = ops.full((batch, num_beams, max_tokens), end_id, "int32")
    # All beams start equal: only the first counts, or all would stay equal.
    first = ops.where(ops.arange(num_beams) == 0, 0.0, NEVER)
    live = (ids, ops.tile(first[None], (batch, 1)))
    return live, (ids, ops.full((batch, num_beams), NEVER))


def is_done(done):
    """Whether `num_beams` prompts have ended, bool `(batch,)`."""
    return ops.all(done[1] > NEVER / 2, axis=1)


def extend(live, logits, position):
    """Finds the best continuations, twice as many as beams, since some may end.

    Args:
        live: live prompts.
        logits: float `(batch * num_beams, vocab_size)`, scores of the next token.
        position: int tensor, place of the next token.

    Returns:
        ids: int32 `(batch, candidates, max_tokens)`.
        totals: float `(batch, candidates)`, their log-probabilities.
        beams: int `(batch, candidates)`, the beam that each continues.
    """
    num_beams, max_tokens = live[0].shape[1:]
    num_candidates = min(2 * num_beams, logits.shape[-1])
    # The best of each beam first: the others need no log-probabilities.
    best, tokens = top_k(logits, num_candidates)
    largest = log_probs_of_largest(logits, tokens[:, 0])
    log_probs = best - best[:, :1] + largest[:, None]
    log_probs = ops.reshape(log_probs, (-1, num_beams, num_candidates))
    totals = ops.reshape(
        live[1][..., None] + log_probs, (-1, num_beams * num_candidates)
    )
    totals, index = ops.top_k(totals, min(2 * num_beams, totals.shape[-1]))
    tokens = ops.reshape(tokens, (-1, num_beams * num_candidates))
    tokens = pick(tokens, index)
    beams = index // num_candidates
    here = ops.arange(max_tokens) == position
    return ops.where(here, tokens[..., None], pick(live[0], beams)), totals, beams


def collect(done, candidates, ends):
    """Adds the candidates that have ended and are among the best `num_beams`.

    Args:
        done: ended prompts.
        candidates: ids and scores of `extend`'s candidates, best first.
        ends: bool `(batch, candidates)`, whether each wrote the end token.

    Returns:
        The ended prompts.
    """
    num_beams = done[0].shape[1]
    written, scores = candidates
    counted = ops.logical_and(ends, ops.arange(ends.shape[1]) < num_beams)
    counted = ops.logical_and(counted, scores > NEVER / 2)
    counted = ops.logical_and(counted, ops.logical_not(is_done(done))[:, None])
    ids = ops.concatenate([done[0], written], axis=1)
    scores = ops.concatenate([done[1], ops.where(counted, scores, NEVER)], axis=1)
    scores, order = ops.top_k(scores, num_beams)
    return pick(ids, order), scores


def continue_best(candidates, ends, num_beams):
    """Returns the best candidates that have not ended, and their indices.

    Args:
        candidates: ids and log-probabilities of `extend`'s candidates.
        ends: bool `(batch, candidates)`, whether each wrote the end token.
        num_beams: int > 0, how many to return.

    Returns:
        live: live prompts.
        order: int `(batch, num_beams)`, which candidates they are.
    """
    written, totals = candidates
    totals, order = ops.top_k(ops.where(ends, 2 * NEVER, totals), num_beams)
    return (pick(written, order), totals), order


def rows_of(beams, num_beams):
    """Converts beams `(batch, num_beams)` to rows of the state, `(batch * num_beams,)`.

    The state has the beams of an image in consecutive rows.
    """
    first = ops.arange(ops.shape(beams)[0])[:, None] * num_beams
    return ops.reshape(first + ops.cast(beams, "int32"), (-1,))


def merge_unfinished(done, live, length):
    """Adds unfinished prompts where too few have ended.

    Args:
        done: ended prompts.
        live: live prompts.
        length: float, divides the log-probabilities of live prompts.

    Returns:
        ids, scores, and bool `(batch, num_beams)`, whether each has ended; best first.
    """
    num_beams = done[0].shape[1]
    absent = ops.logical_or(is_done(done)[:, None], live[1] <= NEVER / 2)
    unfinished = ops.where(absent, NEVER, live[1] / length)
    ids = ops.concatenate([done[0], live[0]], axis=1)
    scores = ops.concatenate([done[1], unfinished], axis=1)
    scores, order = ops.top_k(scores, num_beams)
    ended = ops.logical_and(order < num_beams, scores > NEVER / 2)
    return pick(ids, order), scores, ended
