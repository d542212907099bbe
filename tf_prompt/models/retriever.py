"""A frozen encoder with which similar training images are found."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.models.encoders import build_encoder, describe_encoder


@keras.saving.register_keras_serializable(package="tf_prompt")
class Retriever(keras.Model):
    """Computes the vectors by which the nearest training images are found.

    A vector is the mean region of a frozen encoder, followed by a linear prediction of
    the prompt's words from it. The inner product of two vectors is the cosine of their
    features plus `text_weight` times the cosine of their words.

    Args:
        encoder: a name for `encoders.describe_encoder`, or the dict it returned.
        image_size: int > 0. Side of the images in pixels.
        conv_filters: ints > 0. Channels of each convolution; only for the encoder
            `conv`.
        text_dim: int > 0. Width of the vectors of words.
        text_weight: float >= 0. Weight of the words; that of the features is 1.
        num_neighbours: int > 0. Number of training images whose prompts are
            candidates.
        sharpness: float >= 0. How much more the nearest candidates count than others.
        separator: a word, such as "by". The ending of a prompt after this word is
            replaced by the one that best fits the image. "" writes only whole prompts
            of training images.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: `(batch, image_size, image_size, 3)`, 0-255.

    Returns:
        float32 `(batch, depth + text_dim)`.

    Raises:
        ValueError: if an argument is out of range.
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
        separator="",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(text_dim=text_dim, num_neighbours=num_neighbours)
        if text_weight < 0 or sharpness < 0:
            raise ValueError(
                "`text_weight` and `sharpness` must not be negative. Received: "
                f"text_weight={text_weight}, sharpness={sharpness}"
            )
        if not isinstance(separator, str) or len(separator.split()) > 1:
            raise ValueError(
                f'`separator` must be a word or "". Received: separator={separator!r}'
            )
        self.encoder = describe_encoder(encoder, image_size)
        self.image_size = image_size
        self.conv_filters = tuple(conv_filters)
        self.text_dim = text_dim
        self.text_weight = text_weight
        self.num_neighbours = num_neighbours
        self.sharpness = sharpness
        self.separator = separator
        self.image_encoder = build_encoder(self.encoder, image_size, self.conv_filters)
        self.image_encoder.trainable = False
        self.text_proj = keras.layers.Dense(
            text_dim, dtype="float32", trainable=False, name="text_proj"
        )
        self.text_proj.build((None, self.image_encoder.output_shape[-1]))
        self.built = True

    def extract_features(self, images, training=None):
        """Computes the mean region of images.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.
            training: ignored, since the encoder is frozen.

        Returns:
            float32 `(batch, depth)`.
        """
        regions = self.image_encoder(images, training=False)
        return ops.mean(ops.cast(regions, "float32"), axis=1)

    def join(self, features, words):
        """Concatenates features and vectors of words, each scaled to unit length.

        Args:
            features: float32 `(batch, depth)`.
            words: float32 `(batch, text_dim)`.

        Returns:
            float32 `(batch, depth + text_dim)`.
        """
        # Both factors of an inner product get the weight, hence the square root.
        weighted = self.text_weight**0.5 * to_unit(words)
        return ops.concatenate([to_unit(features), weighted], axis=-1)

    def extend(self, features):
        """Joins features of unit length, `(batch, depth)`, and predicted words."""
        return self.join(features, self.text_proj(features))

    def call(self, images, training=None):
        return self.extend(to_unit(self.extract_features(images)))

    def get_build_config(self):
        # The constructor has built every layer.
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "encoder": self.encoder,
            "image_size": self.image_size,
            "conv_filters": self.conv_filters,
            "text_dim": self.text_dim,
            "text_weight": self.text_weight,
            "num_neighbours": self.num_neighbours,
            "sharpness": self.sharpness,
            "separator": self.separator,
        }


def to_unit(x):
    """Scales rows to unit length; rows of zeros stay zeros."""
    return x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-12)
