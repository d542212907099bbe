"""A frozen encoder with which similar training images are found."""

import keras
import numpy as np
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.models.encoders import build_encoder, describe_encoder, open_stage

# The style of one with 256 channels would have 33,000 numbers.
MAX_CHANNELS = 64


@keras.saving.register_keras_serializable(package="tf_prompt")
class Retriever(keras.Model):
    """Computes the vectors by which the nearest training images are found.

    A vector is the mean region of a frozen encoder, followed by a linear prediction of
    the prompt's words from it, and by the style: which channels of an earlier stage are
    active together. The inner product of two vectors is the cosine of their features
    plus `text_weight` times the cosine of their words plus `style_weight` times that of
    their style.

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
        style_stage: name of the earlier stage, such as "P3"; "" for no style. An
            encoder without named stages, or with more than `MAX_CHANNELS` channels in
            this one, gives no style.
        style_weight: float >= 0. Weight of the style, if there is one.
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

    Reference: Gatys et al., 2016, "Image style transfer using convolutional neural
    networks", equation 3, for the style.
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
        super().__init__(**kwargs)
        check_positive(text_dim=text_dim, num_neighbours=num_neighbours)
        if min(text_weight, sharpness, style_weight) < 0:
            raise ValueError(
                "`text_weight`, `sharpness` and `style_weight` must not be negative. "
                f"Received: text_weight={text_weight}, sharpness={sharpness}, "
                f"style_weight={style_weight}"
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
        self.style_stage = style_stage
        self.style_weight = style_weight
        self.separator = separator
        self.image_encoder = build_encoder(self.encoder, image_size, self.conv_filters)
        self.image_encoder.trainable = False
        self.text_proj = keras.layers.Dense(
            text_dim, dtype="float32", trainable=False, name="text_proj"
        )
        self.depth = self.image_encoder.output_shape[-1]
        self.text_proj.build((None, self.depth))
        stages = open_stage(self.image_encoder, style_stage) if style_stage else None
        channels = 0 if stages is None else stages.output_shape[0][-1]
        self.style_dim = 0
        if 0 < channels <= MAX_CHANNELS:
            self.stages = stages
            self.stages.trainable = False
            self.style_dim = channels * (channels + 1) // 2
            self.style_proj = keras.layers.Dense(
                self.style_dim, dtype="float32", trainable=False, name="style_proj"
            )
            self.style_proj.build((None, self.style_dim))
        self.vector_dim = self.depth + text_dim + self.style_dim
        self.built = True

    @property
    def squared_length(self) -> float:
        """That of each vector: the largest possible inner product."""
        return 1 + self.text_weight + (self.style_weight if self.style_dim else 0)

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

    def extract_both(self, images):
        """Computes the mean region of images, and their style before it is scaled.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.

        Returns:
            float32 `(batch, depth)` and float32 `(batch, style_dim)`.
        """
        if not self.style_dim:
            features = self.extract_features(images)
            return features, features[:, :0]
        maps, regions = self.stages(images, training=False)
        return ops.mean(ops.cast(regions, "float32"), axis=1), correlate(maps)

    def look(self, images):
        """Computes what is known of images: features and style, each of unit length.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.

        Returns:
            float32 `(batch, depth + style_dim)`.
        """
        features, style = self.extract_both(images)
        if not self.style_dim:
            return to_unit(features)
        seen = [to_unit(features), to_unit(self.style_proj(style))]
        return ops.concatenate(seen, axis=-1)

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
            "style_stage": self.style_stage,
            "style_weight": self.style_weight,
            "separator": self.separator,
        }


def correlate(maps):
    """Computes the Gram matrix of channels: the mean products of each pair.

    Args:
        maps: `(batch, rows, columns, channels)`.

    Returns:
        float32 `(batch, channels * (channels + 1) / 2)`, the upper triangle; of each
        number the square root, with its sign.
    """
    channels = maps.shape[-1]
    count = maps.shape[1] * maps.shape[2]
    places = ops.reshape(ops.cast(maps, "float32"), (-1, count, channels))
    gram = ops.einsum("bpc,bpd->bcd", places, places) / count
    first, second = np.triu_indices(channels)
    pairs = ops.reshape(gram, (-1, channels**2))
    pairs = ops.take(pairs, first * channels + second, axis=1)
    return ops.sign(pairs) * ops.sqrt(ops.abs(pairs))


def to_unit(x):
    """Scales rows to unit length; rows of zeros stay zeros."""
    return x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-12)
