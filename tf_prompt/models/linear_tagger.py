"""Predicts the modifiers of an image's prompt by a linear map."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.models.frozen_encoder import FrozenEncoder
from tf_prompt.models.tagger import THRESHOLD

# Probabilities of 0 and 1 would have infinite logits.
_LEAST = 1e-6


@keras.saving.register_keras_serializable(package="tf_prompt")
class LinearTagger(FrozenEncoder):
    """Predicts which modifiers an image's prompt contains, from features and style.

    A ridge regression gives `head` its weights. It needs fewer images than the queries
    of a `Tagger`, which find less in a few hundred.

    Args:
        num_modifiers: int > 0. Number of modifiers.
        encoder, image_size, conv_filters, style_stage: see `FrozenEncoder`.
        style_weight: float >= 0. Weight of the style when `head` is fitted; that of the
            features is 1.
        threshold: float in 0-1. Smallest probability of a modifier to be written.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: `(batch, image_size, image_size, 3)`, 0-255.

    Returns:
        float32 `(batch, num_modifiers)`, logits.

    Raises:
        ValueError: if an argument is out of range, or the encoder has no such stage.
    """

    def __init__(
        self,
        num_modifiers,
        encoder,
        image_size,
        conv_filters=(),
        style_stage="",
        style_weight=0.0,
        threshold=THRESHOLD,
        **kwargs,
    ):
        super().__init__(
            encoder, image_size, conv_filters, style_stage, style_weight, **kwargs
        )
        check_positive(num_modifiers=num_modifiers)
        self.num_modifiers = num_modifiers
        self.threshold = threshold
        self._build_style()
        self.head = keras.layers.Dense(
            num_modifiers, dtype="float32", trainable=False, name="head"
        )
        self.head.build((None, self.depth + self.style_dim))
        self.built = True

    def call(self, images, training=None):
        found = ops.clip(self.head(self.look(images)), _LEAST, 1 - _LEAST)
        return ops.log(found) - ops.log(1 - found)

    def get_config(self):
        return {
            **super().get_config(),
            "num_modifiers": self.num_modifiers,
            "threshold": self.threshold,
        }
