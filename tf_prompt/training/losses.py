"""Loss and accuracy over the words of a batch, padding left out."""

import keras
import tensorflow as tf
from keras import ops

from tf_prompt.text import PAD_ID


@keras.saving.register_keras_serializable(package="tf_prompt")
class TokenCrossentropy(keras.losses.Loss):
    """Mean cross-entropy of the words and end tokens of a global batch.

    Replicas hold different numbers of words. Each sums its own and divides by
    the mean number over replicas, so that the mean over replicas, which Keras
    takes, is the mean over all words: the loss of one device on the whole batch.

    Call arguments:
        y_true: int tensor `(batch, tokens)`; `PAD_ID` is not a target.
        y_pred: float tensor `(batch, tokens, vocab_size)`, logits.

    Returns:
        float32 scalar, nats a token.
    """

    def __init__(self, name="token_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def __call__(self, y_true, y_pred, sample_weight=None):
        losses, mask = _token_losses(y_true, y_pred)
        num_tokens = tf.reduce_sum(mask)
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            num_tokens = replica.all_reduce(tf.distribute.ReduceOp.MEAN, num_tokens)
        return tf.reduce_sum(losses * mask) / tf.maximum(num_tokens, 1.0)

    def call(self, y_true, y_pred):
        losses, mask = _token_losses(y_true, y_pred)
        return losses * mask


@keras.saving.register_keras_serializable(package="tf_prompt")
class TokenAccuracy(keras.metrics.Mean):
    """Share of words and end tokens that have the highest score.

    Call arguments:
        y_true: int tensor `(batch, tokens)`; `PAD_ID` is not a target.
        y_pred: float tensor `(batch, tokens, vocab_size)`, logits.
    """

    def __init__(self, name="token_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = ops.cast(y_true, "int32")
        hits = ops.equal(y_true, ops.cast(ops.argmax(y_pred, axis=-1), "int32"))
        mask = ops.cast(ops.not_equal(y_true, PAD_ID), "float32")
        return super().update_state(ops.cast(hits, "float32"), sample_weight=mask)


def _token_losses(y_true, y_pred):
    y_true = tf.cast(y_true, tf.int32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        y_true, tf.cast(y_pred, tf.float32)
    )
    return losses, tf.cast(tf.not_equal(y_true, PAD_ID), tf.float32)
