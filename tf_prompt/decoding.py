"""Writes token ids with any captioner's step function: greedy, sampled, by beams.

Every loop is `keras.ops.while_loop`: it runs eagerly, inside `tf.function`, under
XLA, and in a SavedModel without XLA. It ends when every row of the batch has.
"""

import dataclasses
import math

from keras import ops, tree

# Far below any log-probability, and finite: infinities would breed NaN.
_NEVER = -1e9


@dataclasses.dataclass(frozen=True)
class Rules:
    """What must not be written, whatever the model says.

    Args:
        banned_ids: ids never written.
        min_tokens: int >= 0. Tokens before the end token may come.
        repetition_penalty: float >= 1. Divides the positive logits of tokens
            already written, and multiplies the negative; 1 changes nothing.
        no_repeat_ngram: int >= 0. No run of so many tokens comes twice; 0 lets
            it.

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

    def log_probs(self, logits, written, position, end_id):
        """Log-probabilities of the next token, what is forbidden far below.

        Args:
            logits: float `(batch, vocab_size)`.
            written: int `(batch, max_tokens)`, of which `position` are written.
            position: int tensor.
            end_id: the end token.

        Returns:
            float32 `(batch, vocab_size)`.
        """
        logits = ops.cast(logits, "float32")
        vocab_size = logits.shape[-1]
        if self.repetition_penalty != 1:
            logits = _penalise(logits, written, position, self.repetition_penalty)
        if self.no_repeat_ngram:
            logits += _ban_ngrams(logits, written, position, self.no_repeat_ngram)
        if self.banned_ids:
            hits = ops.one_hot(list(self.banned_ids), vocab_size, dtype="float32")
            logits += _NEVER * ops.max(hits, axis=0)
        if self.min_tokens:
            early = ops.cast(position < self.min_tokens, "float32")
            logits += _NEVER * early * ops.one_hot(end_id, vocab_size, dtype="float32")
        return ops.log_softmax(logits)


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

    def choose(log_probs, position):
        return ops.argmax(log_probs, axis=-1)

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

    def choose(log_probs, position):
        scaled = _cut(log_probs / temperature, top_k, top_p)
        noise = uniform(position, ops.shape(scaled))
        gumbel = -ops.log(-ops.log(ops.maximum(noise, 1e-20)) + 1e-20)
        return ops.argmax(scaled + gumbel, axis=-1)

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
        step, state, memory, start_ids, end_id, max_tokens, rules: as in `greedy`.
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
    batch = ops.shape(start_ids)[0]

    def repeat(x):
        return ops.repeat(x, num_beams, axis=0)

    memory = tree.map_structure(repeat, memory)
    nothing = ops.full((batch, num_beams, max_tokens), end_id, "int32")
    # All beams begin alike: the first alone counts, or all would stay alike.
    first = ops.where(ops.arange(num_beams) == 0, 0.0, _NEVER)
    live = (nothing, ops.tile(first[None], (batch, 1)))
    done = (nothing, ops.full((batch, num_beams), _NEVER))

    def is_done(done):
        return ops.all(done[1] > _NEVER / 2, axis=1)

    def advance(position, token_ids, live, done, state):
        logits, state = step(token_ids, position, state, memory)
        flat = ops.reshape(live[0], (-1, max_tokens))
        log_probs = rules.log_probs(logits, flat, position, end_id)
        vocab_size = log_probs.shape[-1]
        log_probs = ops.reshape(log_probs, (-1, num_beams, vocab_size))
        totals = ops.reshape(
            live[1][..., None] + log_probs, (-1, num_beams * vocab_size)
        )
        # As many again, for those that end may not go on.
        count = min(2 * num_beams, num_beams * vocab_size)
        totals, index = ops.top_k(totals, count)
        beams, tokens = index // vocab_size, ops.cast(index % vocab_size, "int32")
        here = ops.arange(max_tokens) == position
        written = ops.where(here, tokens[..., None], _take(live[0], beams))
        ends = tokens == end_id

        counted = ops.logical_and(ends, ops.arange(count) < num_beams)
        counted = ops.logical_and(counted, totals > _NEVER / 2)
        counted = ops.logical_and(counted, ops.logical_not(is_done(done))[:, None])
        length = ops.cast(position + 1, "float32") ** length_penalty
        ended = ops.where(counted, totals / length, _NEVER)
        done = _best(num_beams, done, (written, ended))

        totals, order = ops.top_k(ops.where(ends, 2 * _NEVER, totals), num_beams)
        live = (_take(written, order), totals)
        tokens = ops.reshape(_take(tokens, order), (-1,))
        rows = ops.arange(ops.shape(order)[0])[:, None] * num_beams
        rows = ops.reshape(rows + ops.cast(_take(beams, order), "int32"), (-1,))
        state = tree.map_structure(lambda x: ops.take(x, rows, axis=0), state)
        return position + 1, tokens, live, done, state

    _, _, live, done, _ = ops.while_loop(
        lambda position, token_ids, live, done, state: ops.logical_not(
            ops.all(is_done(done))
        ),
        advance,
        (
            ops.cast(0, "int32"),
            repeat(ops.cast(start_ids, "int32")),
            live,
            done,
            tree.map_structure(repeat, state),
        ),
        maximum_iterations=max_tokens,
    )
    unfinished = ops.where(
        ops.logical_or(is_done(done)[:, None], live[1] <= _NEVER / 2),
        _NEVER,
        live[1] / math.pow(max_tokens, length_penalty),
    )
    return _merge_unfinished(num_beams, done, (live[0], unfinished))


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
        log_probs = rules.log_probs(logits, written, position, end_id)
        token_ids = ops.cast(choose(log_probs, position), "int32")
        chosen = ops.take_along_axis(log_probs, token_ids[:, None], axis=1)[:, 0]
        token_ids = ops.where(ended, end_id, token_ids)
        alive = ops.cast(ops.logical_not(ended), "float32")
        # Not slice_update: Keras makes it an XLA operation, absent from TF Serving.
        here = ops.arange(max_tokens) == position
        written = ops.where(here[None], token_ids[:, None], written)
        ended = ops.logical_or(ended, token_ids == end_id)
        total, length = total + alive * chosen, length + alive
        return position + 1, token_ids, written, ended, total, length, state

    _, _, written, ended, total, length, _ = ops.while_loop(
        unfinished,
        advance,
        (ops.cast(0, "int32"), start_ids, written, ended, total, length, state),
        maximum_iterations=max_tokens,
    )
    return written, total / ops.maximum(length, 1), ended


def _cut(log_probs, top_k, top_p):
    vocab_size = log_probs.shape[-1]
    if top_k and top_k < vocab_size:
        least = ops.top_k(log_probs, top_k)[0][:, -1:]
        log_probs = ops.where(log_probs < least, _NEVER, log_probs)
    if top_p < 1:
        likeliest = ops.top_k(log_probs, vocab_size)[0]
        probs = ops.softmax(likeliest)
        # The token that reaches the sum is kept: count what comes before it.
        kept = ops.cumsum(probs, axis=-1) - probs < top_p
        last = ops.sum(ops.cast(kept, "int32"), axis=-1, keepdims=True) - 1
        least = ops.take_along_axis(likeliest, last, axis=1)
        log_probs = ops.where(log_probs < least, _NEVER, log_probs)
    return log_probs


def _penalise(logits, written, position, penalty):
    old = ops.take_along_axis(logits, written, axis=1)
    new = ops.where(old > 0, old / penalty, old * penalty)
    is_written = (ops.arange(written.shape[1]) < position)[None]
    # Places not yet written hold the end token, whose logit stays.
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
    bans = ops.where(same, _NEVER, 0.0)
    entries = _entries(written[:, n - 1 :])
    return ops.scatter(entries, ops.reshape(bans, (-1,)), ops.shape(logits))


def _entries(token_ids):
    """Index pairs of row and token, `(rows * tokens, 2)`."""
    rows = ops.zeros_like(token_ids) + ops.arange(ops.shape(token_ids)[0])[:, None]
    return ops.reshape(ops.stack([rows, token_ids], axis=-1), (-1, 2))


def _take(x, index):
    """Picks along axis 1 for each row: `(batch, n, …)` to `(batch, k, …)`."""
    index = ops.reshape(index, (*ops.shape(index), *[1] * (len(x.shape) - 2)))
    return ops.take_along_axis(x, index, axis=1)


def _best(num_beams, first, second):
    """The best of two sets of prompts and scores; of equals, the first's."""
    written = ops.concatenate([first[0], second[0]], axis=1)
    scores, order = ops.top_k(ops.concatenate([first[1], second[1]], 1), num_beams)
    return _take(written, order), scores


def _merge_unfinished(num_beams, done, live):
    written = ops.concatenate([done[0], live[0]], axis=1)
    scores, order = ops.top_k(ops.concatenate([done[1], live[1]], 1), num_beams)
    ended = ops.logical_and(order < num_beams, scores > _NEVER / 2)
    return _take(written, order), scores, ended
