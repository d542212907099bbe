"""A frozen encoder that describes an image by its features and its style."""

import keras
import numpy as np
from keras import ops

from tf_prompt.models.encoders import build_encoder, describe_encoder, open_stage

# The style of one with 256 channels would have 33,000 numbers.
MAX_CHANNELS = 64


class FrozenEncoder(keras.Model):
    """The base of models that see an image as one vector of a frozen encoder.

    The vector has two parts, each of unit length: the mean region, and the style, that
    is which channels of an earlier stage are active together. Subclasses build what
    they add, call `_build_style`, and define `call`.

    Args:
        encoder: a name for `encoders.describe_encoder`, or the dict it returned.
        image_size: int > 0. Side of the images in pixels.
        conv_filters: ints > 0. Channels of each convolution; only for the encoder
            `conv`.
        style_stage: name of the earlier stage, such as "P3"; "" for no style. An
            encoder without named stages, or with more than `MAX_CHANNELS` channels in
            this one, gives no style.
        style_weight: float >= 0. Weight of the style, if there is one; that of the
            features is 1.
        **kwargs: passed to `keras.Model`.

    Attributes:
        depth: int, width of the features.
        style_dim: int, width of the style; 0 without.

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
        style_stage="",
        style_weight=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if style_weight < 0:
            raise ValueError(
                f"`style_weight` must not be negative. Received: {style_weight}"
            )
        self.encoder = describe_encoder(encoder, image_size)
        self.image_size = image_size
        self.conv_filters = tuple(conv_filters)
        self.style_stage = style_stage
        self.style_weight = style_weight
        self.image_encoder = build_encoder(self.encoder, image_size, self.conv_filters)
        self.image_encoder.trainable = False
        self.depth, self.style_dim = self.image_encoder.output_shape[-1], 0

    def _build_style(self):
        # After the subclass's own layers: files of earlier versions have that order.
        name = self.style_stage
        stages = open_stage(self.image_encoder, name) if name else None
        channels = 0 if stages is None else stages.output_shape[0][-1]
        if 0 < channels <= MAX_CHANNELS:
            self.stages = stages
            self.stages.trainable = False
            self.style_dim = channels * (channels + 1) // 2
            self.style_proj = keras.layers.Dense(
                self.style_dim, dtype="float32", trainable=False, name="style_proj"
            )
            self.style_proj.build((None, self.style_dim))

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

    def get_build_config(self):
        # The constructor has built every layer.
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "encoder": self.encoder,
            "image_size": self.image_size,
            "conv_filters": self.conv_filters,
            "style_stage": self.style_stage,
            "style_weight": self.style_weight,
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
