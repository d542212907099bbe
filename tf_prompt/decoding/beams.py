"""Beams in tensors: how prompts that are written grow, end and compete.

Live and ended prompts are pairs of ids, int32 `(batch, num_beams, max_tokens)`,
and scores, float32 `(batch, num_beams)`, `NEVER` where there is no prompt.
"""

from keras import ops

from tf_prompt.decoding.largest import log_probs_of_largest, top_k
from tf_prompt.decoding.rules import NEVER
from tf_prompt.layers.picking import pick


def begin(batch, num_beams, max_tokens, end_id):
    """Live and ended prompts, each `(ids, scores)`, before the first step."""
    ids = ops.full((batch, num_beams, max_tokens), end_id, "int32")
    # All beams begin alike: the first alone counts, or all would stay alike.
    first = ops.where(ops.arange(num_beams) == 0, 0.0, NEVER)
    live = (ids, ops.tile(first[None], (batch, 1)))
    return live, (ids, ops.full((batch, num_beams), NEVER))


def is_done(done):
    """For each image, whether as many prompts as there are beams have ended."""
    return ops.all(done[1] > NEVER / 2, axis=1)


def extend(live, logits, position):
    """The best continuations of all beams, twice as many, since some may end.

    Returns:
        ids `(batch, candidates, max_tokens)`, their log-probabilities, and the beam
        that each comes from.
    """
    num_beams, max_tokens = live[0].shape[1:]
    num_candidates = min(2 * num_beams, logits.shape[-1])
    # The best of each beam first: log-probabilities of the rest are never made.
    best, tokens = top_k(logits, num_candidates)
    likeliest = log_probs_of_largest(logits, tokens[:, 0])
    log_probs = best - best[:, :1] + likeliest[:, None]
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
    """Adds the candidates that have ended, if they are among the beams' best."""
    num_beams = done[0].shape[1]
    written, scores = candidates
    counted = ops.logical_and(ends, ops.arange(ends.shape[1]) < num_beams)
    counted = ops.logical_and(counted, scores > NEVER / 2)
    counted = ops.logical_and(counted, ops.logical_not(is_done(done))[:, None])
    ids = ops.concatenate([done[0], written], axis=1)
    scores = ops.concatenate([done[1], ops.where(counted, scores, NEVER)], axis=1)
    scores, order = ops.top_k(scores, num_beams)
    return pick(ids, order), scores


def go_on(candidates, ends, num_beams):
    """The best candidates that have not ended, and where they stood."""
    written, totals = candidates
    totals, order = ops.top_k(ops.where(ends, 2 * NEVER, totals), num_beams)
    return (pick(written, order), totals), order


def rows_of(beams, num_beams):
    """Rows of the state, which holds all beams of all images one after another."""
    first = ops.arange(ops.shape(beams)[0])[:, None] * num_beams
    return ops.reshape(first + ops.cast(beams, "int32"), (-1,))


def merge_unfinished(done, live, length):
    """The best of both where too few have ended: ids, scores, whether ended."""
    num_beams = done[0].shape[1]
    absent = ops.logical_or(is_done(done)[:, None], live[1] <= NEVER / 2)
    unfinished = ops.where(absent, NEVER, live[1] / length)
    ids = ops.concatenate([done[0], live[0]], axis=1)
    scores = ops.concatenate([done[1], unfinished], axis=1)
    scores, order = ops.top_k(scores, num_beams)
    ended = ops.logical_and(order < num_beams, scores > NEVER / 2)
    return pick(ids, order), scores, ended
