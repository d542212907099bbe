"""Writes token ids with any captioner's step function: greedy, sampled, by beams.

Every loop is `keras.ops.while_loop`: it runs eagerly, inside `tf.function`, under
XLA, and in a SavedModel without XLA. It ends when every row of the batch has.
"""

from keras import ops, tree

from tf_prompt.decoding.rules import NEVER, Rules
from tf_prompt.layers.picking import pick

# Numbers in a block of `top_k`, at least.
_BLOCK = 64


def greedy(
    step,
    state,
    memory,
    start_ids,
    end_id,
    max_tokens,
    rules=Rules(),  # noqa: B008
):
    """Takes the likeliest token at each step, until every prompt has ended.

    Args:
        step: function of `token_ids`, `position`, `state` and `memory`, see
            `Captioner.step`.
        state: what changes from step to step, as `Captioner.encode` gave it.
        memory: what `encode` gave beside it.
        start_ids: int tensor `(batch,)`, the token that each prompt begins with.
        end_id: int, the token that ends a prompt.
        max_tokens: int > 0, tokens written at most, the end token included.
        rules: what must not be written.

    Returns:
        token_ids: int32 `(batch, max_tokens)`; `end_id` fills the rest of a row.
        scores: float32 `(batch,)`, mean log-probability of the tokens written,
            the end token included; 0 is certain.
        ended: bool `(batch,)`, whether the end token was written.
    """

    def choose(logits, position):
        token_ids = _largest(logits)
        return token_ids, _log_probs_of_largest(logits, token_ids)

    return _write(step, state, memory, start_ids, end_id, max_tokens, rules, choose)


def sample(
    step,
    state,
    memory,
    start_ids,
    end_id,
    max_tokens,
    uniform,
    rules=Rules(),  # noqa: B008
    temperature=1.0,
    top_k=0,
    top_p=1.0,
):
    """Draws each token by its probability, among the likeliest if asked.

    Args:
        step, state, memory, start_ids, end_id, max_tokens, rules: as in `greedy`.
        uniform: function of `position` and a shape that gives random floats in
            [0, 1), anew for each position.
        temperature: float > 0. Below 1 prefers likely tokens more.
        top_k: int >= 0. Draws among so many tokens; 0 among all.
        top_p: float in (0, 1]. Draws among the fewest likeliest tokens whose
            probabilities, after temperature, reach this sum.

    Returns:
        As `greedy`; scores are those of the model before temperature and cuts.

    Raises:
        ValueError: for a value out of its range.

    Reference: top-p is nucleus sampling, Holtzman et al., 2019,
    https://arxiv.org/abs/1904.09751, section 3.1. The draw is Gumbel's trick,
    Maddison et al., 2014, https://arxiv.org/abs/1411.0030, section 2.
    """
    if temperature <= 0 or top_k < 0 or not 0 < top_p <= 1:
        raise ValueError(
            "`temperature` must be positive, `top_k` not negative, `top_p` in (0, 1]. "
            f"Received: temperature={temperature}, top_k={top_k}, top_p={top_p}"
        )

    def choose(logits, position):
        scaled = _cut(logits / temperature, top_k, top_p)
        noise = uniform(position, ops.shape(scaled))
        gumbel = -ops.log(-ops.log(ops.maximum(noise, 1e-20)) + 1e-20)
        token_ids = _largest(scaled + gumbel)
        chosen = pick(logits, token_ids[:, None])[:, 0]
        return token_ids, chosen - ops.logsumexp(logits, axis=-1)

    return _write(step, state, memory, start_ids, end_id, max_tokens, rules, choose)


def beam_search(
    step,
    state,
    memory,
    start_ids,
    end_id,
    max_tokens,
    num_beams,
    rules=Rules(),  # noqa: B008
    length_penalty=1.0,
):
    """Keeps the best `num_beams` prompts of each image at every step.

    A prompt ends if the end token is among the best `num_beams` continuations.
    An image is done when `num_beams` prompts have ended; one beam is therefore
    `greedy`. At the last step the unfinished prompts compete as they are.

    Args:
        step, state, memory, start_ids, end_id, max_tokens, rules: as in `greedy`;
            `step` gets a row a beam, and `memory` as it is, a row an image.
        num_beams: int > 0.
        length_penalty: float. A prompt's score is the sum of its log-probabilities
            over its length to this power: 1 is the mean, 0 the sum.

    Returns:
        token_ids: int32 `(batch, num_beams, max_tokens)`, best first.
        scores: float32 `(batch, num_beams)`; -1e9 where there is no such prompt.
        ended: bool `(batch, num_beams)`.

    Raises:
        ValueError: if `num_beams` is not positive.

    Reference: Sutskever et al., 2014, https://arxiv.org/abs/1409.3215, section
    3.2; length as in Wu et al., 2016, https://arxiv.org/abs/1609.08144, section
    7, without its constant 5.
    """
    if num_beams < 1:
        raise ValueError(f"`num_beams` must be positive. Received: {num_beams}")

    def repeat(x):
        return ops.repeat(x, num_beams, axis=0)

    def unfinished(position, token_ids, live, done, state):
        return ops.logical_not(ops.all(_is_done(done)))

    advance = _advance_beams(step, memory, end_id, rules, length_penalty)
    live, done = _begin_beams(ops.shape(start_ids)[0], num_beams, max_tokens, end_id)
    start_ids = repeat(ops.cast(start_ids, "int32"))
    state = tree.map_structure(repeat, state)
    _, _, live, done, _ = ops.while_loop(
        unfinished,
        advance,
        (ops.cast(0, "int32"), start_ids, live, done, state),
        maximum_iterations=max_tokens,
    )
    return _merge_unfinished(done, live, max_tokens**length_penalty)


def _advance_beams(step, memory, end_id, rules, length_penalty):
    """Builds the body of the loop of `beam_search`."""

    def advance(position, token_ids, live, done, state):
        logits, state = step(token_ids, position, state, memory)
        num_beams, max_tokens = live[0].shape[1:]
        flat = ops.reshape(live[0], (-1, max_tokens))
        logits = rules.apply(logits, flat, position, end_id)
        written, totals, beams = _extend(live, logits, position)
        ends = ops.take(written, position, axis=2) == end_id
        length = ops.cast(position + 1, "float32") ** length_penalty
        scores = ops.where(totals > NEVER / 2, totals / length, NEVER)
        done = _collect(done, (written, scores), ends)
        live, order = _go_on((written, totals), ends, num_beams)
        token_ids = ops.reshape(ops.take(live[0], position, axis=2), (-1,))
        rows = _rows_of(pick(beams, order), num_beams)
        state = tree.map_structure(lambda x: ops.take(x, rows, axis=0), state)
        return position + 1, token_ids, live, done, state

    return advance


def _begin_beams(batch, num_beams, max_tokens, end_id):
    """Live and ended prompts, each `(ids, scores)`, before the first step."""
    ids = ops.full((batch, num_beams, max_tokens), end_id, "int32")
    # All beams begin alike: the first alone counts, or all would stay alike.
    first = ops.where(ops.arange(num_beams) == 0, 0.0, NEVER)
    live = (ids, ops.tile(first[None], (batch, 1)))
    return live, (ids, ops.full((batch, num_beams), NEVER))


def _is_done(done):
    """For each image, whether as many prompts as there are beams have ended."""
    return ops.all(done[1] > NEVER / 2, axis=1)


def _extend(live, logits, position):
    """The best continuations of all beams, twice as many, since some may end.

    Returns:
        ids `(batch, candidates, max_tokens)`, their log-probabilities, and the beam
        that each comes from.
    """
    num_beams, max_tokens = live[0].shape[1:]
    num_candidates = min(2 * num_beams, logits.shape[-1])
    # The best of each beam first: log-probabilities of the rest are never made.
    best, tokens = top_k(logits, num_candidates)
    likeliest = _log_probs_of_largest(logits, tokens[:, 0])
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


def _collect(done, candidates, ends):
    """Adds the candidates that have ended, if they are among the beams' best."""
    num_beams = done[0].shape[1]
    written, scores = candidates
    counted = ops.logical_and(ends, ops.arange(ends.shape[1]) < num_beams)
    counted = ops.logical_and(counted, scores > NEVER / 2)
    counted = ops.logical_and(counted, ops.logical_not(_is_done(done))[:, None])
    ids = ops.concatenate([done[0], written], axis=1)
    scores = ops.concatenate([done[1], ops.where(counted, scores, NEVER)], axis=1)
    scores, order = ops.top_k(scores, num_beams)
    return pick(ids, order), scores


def _go_on(candidates, ends, num_beams):
    """The best candidates that have not ended, and where they stood."""
    written, totals = candidates
    totals, order = ops.top_k(ops.where(ends, 2 * NEVER, totals), num_beams)
    return (pick(written, order), totals), order


def _rows_of(beams, num_beams):
    """Rows of the state, which holds all beams of all images one after another."""
    first = ops.arange(ops.shape(beams)[0])[:, None] * num_beams
    return ops.reshape(first + ops.cast(beams, "int32"), (-1,))


def _merge_unfinished(done, live, length):
    """The best of both where too few have ended: ids, scores, whether ended."""
    num_beams = done[0].shape[1]
    absent = ops.logical_or(_is_done(done)[:, None], live[1] <= NEVER / 2)
    unfinished = ops.where(absent, NEVER, live[1] / length)
    ids = ops.concatenate([done[0], live[0]], axis=1)
    scores = ops.concatenate([done[1], unfinished], axis=1)
    scores, order = ops.top_k(scores, num_beams)
    ended = ops.logical_and(order < num_beams, scores > NEVER / 2)
    return pick(ids, order), scores, ended


def _write(step, state, memory, start_ids, end_id, max_tokens, rules, choose):
    start_ids = ops.cast(start_ids, "int32")
    batch = ops.shape(start_ids)[0]
    written = ops.full((batch, max_tokens), end_id, "int32")
    ended = ops.zeros((batch,), "bool")
    total = ops.zeros((batch,), "float32")
    length = ops.zeros((batch,), "float32")

    def unfinished(position, token_ids, written, ended, total, length, state):
        return ops.logical_not(ops.all(ended))

    def advance(position, token_ids, written, ended, total, length, state):
        logits, state = step(token_ids, position, state, memory)
        logits = rules.apply(logits, written, position, end_id)
        token_ids, log_probs = choose(logits, position)
        token_ids = ops.where(ended, end_id, token_ids)
        alive = ops.cast(ops.logical_not(ended), "float32")
        # Not slice_update: Keras makes it an XLA operation, absent from TF Serving.
        here = ops.arange(max_tokens) == position
        written = ops.where(here[None], token_ids[:, None], written)
        ended = ops.logical_or(ended, token_ids == end_id)
        total, length = total + alive * log_probs, length + alive
        return position + 1, token_ids, written, ended, total, length, state

    _, _, written, ended, total, length, _ = ops.while_loop(
        unfinished,
        advance,
        (ops.cast(0, "int32"), start_ids, written, ended, total, length, state),
        maximum_iterations=max_tokens,
    )
    return written, total / ops.maximum(length, 1), ended


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


def _largest(x):
    """Where the largest number of each row is: int32 `(rows,)`."""
    # ops.argmax takes twice as long for 64 rows: it tells -0 from 0 by their bits.
    return top_k(x, 1)[1][:, 0]


def _log_probs_of_largest(logits, token_ids):
    """Log-probability of each row's likeliest token, float `(rows,)`.

    A softmax is one pass over the logits, a log-sum-exp five. It is exact only
    where it cannot vanish: the largest of `n` is at least `1 / n`.
    """
    probs = ops.softmax(logits)
    return ops.log(pick(probs, token_ids[:, None])[:, 0])


def _cut(logits, top_k_tokens, top_p):
    vocab_size = logits.shape[-1]
    if top_k_tokens and top_k_tokens < vocab_size:
        least = top_k(logits, top_k_tokens)[0][:, -1:]
        logits = ops.where(logits < least, NEVER, logits)
    if top_p < 1:
        likeliest = ops.top_k(logits, vocab_size)[0]
        probs = ops.softmax(likeliest)
        # The token that reaches the sum is kept: count what comes before it.
        kept = ops.cumsum(probs, axis=-1) - probs < top_p
        last = ops.sum(ops.cast(kept, "int32"), axis=-1, keepdims=True) - 1
        least = pick(likeliest, last)
        logits = ops.where(logits < least, NEVER, logits)
    return logits
