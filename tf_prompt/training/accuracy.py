"""Accuracy over words, padding left out."""

import keras
from keras import ops

from tf_prompt.text import PAD_ID


@keras.saving.register_keras_serializable(package="tf_prompt")
class TokenAccuracy(keras.metrics.Mean):
    """Share of words and end tokens that have the highest score.

    Keras' own accuracy would weigh words by `sample_weight`, in which a word of a
    short batch counts more than one of a long batch.

    Call arguments:
        y_true: int tensor `(batch, tokens)`; `PAD_ID` is not a target.
        y_pred: float tensor `(batch, tokens, 2)`, loss and hit of each word as a
            captioner gives them with `target_ids`.
    """

    def __init__(self, name="token_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        mask = ops.cast(ops.not_equal(y_true, PAD_ID), "float32")
        return super().update_state(y_pred[..., 1], sample_weight=mask)
