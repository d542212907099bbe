"""Writes token ids with any captioner's step function."""

from keras import ops

# Small enough never to win, and finite in float16.
_NEVER = -6e4


def greedy(step, state, start_ids, end_id, max_tokens, banned_ids=()):
    """Takes the likeliest token at each step, until every prompt has ended.

    The loop is `keras.ops.while_loop`: it runs eagerly, inside `tf.function`, and
    in a SavedModel, without XLA.

    Args:
        step: function of `token_ids`, `position` and `state`, see
            `Captioner.step`.
        state: what `Captioner.encode` returned.
        start_ids: int tensor `(batch,)`, the token that each prompt begins with.
        end_id: int, the token that ends a prompt.
        max_tokens: int > 0, tokens written at most, the end token included.
        banned_ids: ids never written.

    Returns:
        token_ids: int32 `(batch, max_tokens)`; `end_id` fills the rest of a row.
        scores: float32 `(batch,)`, mean log-probability of the tokens written,
            the end token included; 0 is certain.
        ended: bool `(batch,)`, whether the end token was written.
    """
    start_ids = ops.cast(start_ids, "int32")
    batch = ops.shape(start_ids)[0]
    written = ops.full((batch, max_tokens), end_id, "int32")
    ended = ops.zeros((batch,), "bool")
    total = ops.zeros((batch,), "float32")
    length = ops.zeros((batch,), "float32")

    def unfinished(position, token_ids, written, ended, total, length, state):
        return ops.logical_not(ops.all(ended))

    def write(position, token_ids, written, ended, total, length, state):
        logits, state = step(token_ids, position, state)
        log_probs = ops.log_softmax(ops.cast(logits, "float32") + bans(logits))
        token_ids = ops.cast(ops.argmax(log_probs, axis=-1), "int32")
        token_ids = ops.where(ended, end_id, token_ids)
        alive = ops.cast(ops.logical_not(ended), "float32")
        total = total + alive * ops.max(log_probs, axis=-1)
        length = length + alive
        # Not slice_update: Keras makes it an XLA operation, absent from TF Serving.
        here = ops.arange(max_tokens) == position
        written = ops.where(here[None], token_ids[:, None], written)
        ended = ops.logical_or(ended, token_ids == end_id)
        return position + 1, token_ids, written, ended, total, length, state

    def bans(logits):
        if not banned_ids:
            return 0.0
        hits = ops.one_hot(list(banned_ids), ops.shape(logits)[-1], dtype="float32")
        return _NEVER * ops.sum(hits, axis=0)

    _, _, written, ended, total, length, _ = ops.while_loop(
        unfinished,
        write,
        (ops.cast(0, "int32"), start_ids, written, ended, total, length, state),
        maximum_iterations=max_tokens,
    )
    return written, total / ops.maximum(length, 1), ended
