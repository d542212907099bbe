"""A frozen encoder whose features are compared with those of training images."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.models.encoders import build_encoder, describe_encoder


@keras.saving.register_keras_serializable(package="tf_prompt")
class Retriever(keras.Model):
    """Makes of an image the vector that training images are sought by.

    It joins the mean region of a frozen encoder with what a linear map of it says of
    the prompt's words. Inner products of two such vectors are the cosine of the
    features plus `text_weight` times that of the words.

    Args:
        encoder: what `encoders.describe_encoder` takes, or what it returned.
        image_size: int > 0. Pixels a side.
        conv_filters: channels of each convolution; of the encoder `conv` only.
        text_dim: int > 0. Numbers of a vector of words.
        text_weight: float >= 0. Of the words beside the features.
        num_neighbours: int > 0. Training images whose prompts are candidates.
        sharpness: float >= 0. The larger, the more the nearest candidates count.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: `(batch, image_size, image_size, 3)`, 0-255.

    Returns:
        float32 `(batch, depth + text_dim)`.
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(text_dim=text_dim, num_neighbours=num_neighbours)
        if text_weight < 0 or sharpness < 0:
            raise ValueError(
                "`text_weight` and `sharpness` must not be negative. Received: "
                f"text_weight={text_weight}, sharpness={sharpness}"
            )
        self.encoder = describe_encoder(encoder, image_size)
        self.image_size = image_size
        self.conv_filters = tuple(conv_filters)
        self.text_dim = text_dim
        self.text_weight = text_weight
        self.num_neighbours = num_neighbours
        self.sharpness = sharpness
        self.image_encoder = build_encoder(self.encoder, image_size, self.conv_filters)
        self.image_encoder.trainable = False
        self.text_proj = keras.layers.Dense(
            text_dim, dtype="float32", trainable=False, name="text_proj"
        )
        self.text_proj.build((None, self.image_encoder.output_shape[-1]))
        self.built = True

    def extract_features(self, images, training=None):
        """Gives the mean region, float32 `(batch, depth)`."""
        regions = self.image_encoder(images, training=False)
        return ops.mean(ops.cast(regions, "float32"), axis=1)

    def join(self, features, words):
        """Joins features and vectors of words, each brought to unit length.

        Args:
            features: float32 `(batch, depth)`.
            words: float32 `(batch, text_dim)`.

        Returns:
            float32 `(batch, depth + text_dim)`.
        """
        # An inner product has the weight in both of its factors.
        weighted = self.text_weight**0.5 * to_unit(words)
        return ops.concatenate([to_unit(features), weighted], axis=-1)

    def call(self, images, training=None):
        features = to_unit(self.extract_features(images))
        return self.join(features, self.text_proj(features))

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
        }


def to_unit(x):
    """Gives rows unit length; zeros stay zeros."""
    return x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-12)
