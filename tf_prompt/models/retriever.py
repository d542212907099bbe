"""A frozen encoder with which similar training images are found."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.models.frozen_encoder import FrozenEncoder, to_unit


@keras.saving.register_keras_serializable(package="tf_prompt")
class Retriever(FrozenEncoder):
    """Computes the vectors by which the nearest training images are found.

    A vector is the mean region of a frozen encoder, followed by a linear prediction of
    the prompt's words from it, and by the style. The inner product of two vectors is
    the cosine of their features plus `text_weight` times the cosine of their words plus
    `style_weight` times that of their style.

    Args:
        encoder, image_size, conv_filters: see `FrozenEncoder`.
        text_dim: int > 0. Width of the vectors of words.
        text_weight: float >= 0. Weight of the words; that of the features is 1.
        num_neighbours: int > 0. Number of training images whose prompts are
            candidates.
        sharpness: float >= 0. How much more the nearest candidates count than others.
        style_stage, style_weight: see `FrozenEncoder`.
        separator: a word, such as "by". The ending of a prompt after this word is
            replaced by the one that best fits the image. "" writes only whole prompts
            of training images.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: `(batch, image_size, image_size, 3)`, 0-255.

    Returns:
        float32 `(batch, vector_dim)`.

    Raises:
        ValueError: if an argument is out of range, or the encoder has no such stage.
    """

    def __init__(
        self,
        encoder,
        image_size,
        conv_filters=(),
        text_dim=300,
        text_weight=0.05,
        num_neighbours=24,
        sharpness=40.0,
        style_stage="",
        style_weight=0.0,
        separator="",
        **kwargs,
    ):
        super().__init__(
            encoder, image_size, conv_filters, style_stage, style_weight, **kwargs
        )
        check_positive(text_dim=text_dim, num_neighbours=num_neighbours)
        if min(text_weight, sharpness) < 0:
            raise ValueError(
                "`text_weight` and `sharpness` must not be negative. "
                f"Received: {text_weight} and {sharpness}"
            )
        if not isinstance(separator, str) or len(separator.split()) > 1:
            raise ValueError(
                f'`separator` must be a word or "". Received: separator={separator!r}'
            )
        self.text_dim = text_dim
        self.text_weight = text_weight
        self.num_neighbours = num_neighbours
        self.sharpness = sharpness
        self.separator = separator
        self.text_proj = keras.layers.Dense(
            text_dim, dtype="float32", trainable=False, name="text_proj"
        )
        self.text_proj.build((None, self.depth))
        self._build_style()
        self.vector_dim = self.depth + text_dim + self.style_dim
        self.built = True

    @property
    def squared_length(self) -> float:
        """That of each vector: the largest possible inner product."""
        return 1 + self.text_weight + (self.style_weight if self.style_dim else 0)

    def extend(self, seen):
        """Computes the vectors of images, with predicted words.

        Args:
            seen: float32 `(batch, depth + style_dim)`, from `look`.

        Returns:
            float32 `(batch, vector_dim)`.
        """
        features, style = seen[:, : self.depth], seen[:, self.depth :]
        words = to_unit(self.text_proj(features))
        # Both factors of an inner product get the weight, hence the square root.
        parts = [features, self.text_weight**0.5 * words]
        if self.style_dim:
            parts.append(self.style_weight**0.5 * style)
        return ops.concatenate(parts, axis=-1)

    def call(self, images, training=None):
        return self.extend(self.look(images))

    def get_config(self):
        return {
            **super().get_config(),
            "text_dim": self.text_dim,
            "text_weight": self.text_weight,
            "num_neighbours": self.num_neighbours,
            "sharpness": self.sharpness,
            "separator": self.separator,
        }
