"""Predicts the modifiers of an image's prompt, with one query per modifier."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.models.encoders import build_encoder, describe_encoder

# Until one is fitted.
THRESHOLD = 0.5


@keras.saving.register_keras_serializable(package="tf_prompt")
class Tagger(keras.Model):
    """Predicts which modifiers an image's prompt contains.

    Each modifier has a learned query that attends to the regions, but not to other
    queries. Its result gives one logit.

    Args:
        num_modifiers: int > 0. Number of modifiers.
        encoder: a name for `encoders.describe_encoder`, or the dict it returned.
        image_size: int > 0. Side of the images in pixels.
        conv_filters: ints > 0. Channels of each convolution; only for the encoder
            `conv`.
        width: int > 0. Width of queries and regions in the decoder.
        num_heads: int > 0, a divisor of `width`. Number of attention heads.
        hidden_dim: int > 0. Width of the feed-forward layer.
        dropout_rate: float in [0, 1).
        threshold: float in 0-1. Smallest probability of a modifier to be written.
        rotation_degrees, flip, erasing_rate: see `Augmentation`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: images `(batch, image_size, image_size, 3)`, 0-255; or a dict with
            either these as `images`, or `regions`, `(batch, regions, depth)`.

    Returns:
        float32 `(batch, num_modifiers)`, logits.

    Reference: Ridnik et al., 2021, "ML-Decoder", https://arxiv.org/abs/2111.12933,
    section 2.3, with as many queries as classes.
    """

    def __init__(
        self,
        num_modifiers,
        encoder,
        image_size,
        conv_filters=(),
        width=256,
        num_heads=8,
        hidden_dim=1024,
        dropout_rate=0.1,
        threshold=THRESHOLD,
        rotation_degrees=0.0,
        flip=False,
        erasing_rate=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(
            num_modifiers=num_modifiers,
            width=width,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
        )
        if width % num_heads:
            raise ValueError(
                f"`num_heads` must divide `width`. Received: {num_heads} and {width}"
            )
        self.num_modifiers = num_modifiers
        self.encoder = describe_encoder(encoder, image_size)
        self.image_size = image_size
        self.conv_filters = tuple(conv_filters)
        self.width = width
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.dropout_rate = dropout_rate
        self.threshold = threshold
        self.rotation_degrees = rotation_degrees
        self.flip = flip
        self.erasing_rate = erasing_rate
        self.augmentation = Augmentation(rotation_degrees, flip, erasing_rate)
        self.image_encoder = build_encoder(self.encoder, image_size, self.conv_filters)
        layers = keras.layers
        self.region_proj = layers.Dense(width, activation="relu", name="region_proj")
        self.attention = layers.MultiHeadAttention(
            num_heads, width // num_heads, dropout=dropout_rate, name="attention"
        )
        self.attention_norm = layers.LayerNormalization(name="attention_norm")
        self.expand = layers.Dense(hidden_dim, activation="relu", name="expand")
        self.contract = layers.Dense(width, name="contract")
        self.output_norm = layers.LayerNormalization(name="output_norm")
        self.dropout = layers.Dropout(dropout_rate, name="dropout")
        self._build_layers()

    def _build_layers(self):
        shape = (None, self.num_modifiers, self.width)
        regions = self.image_encoder.output_shape
        self.region_proj.build(regions)
        self.attention.build(shape, (*regions[:-1], self.width))
        for layer in (self.attention_norm, self.expand, self.output_norm):
            layer.build(shape)
        self.contract.build((*shape[:-1], self.hidden_dim))
        size = (self.num_modifiers, self.width)
        self.queries = self.add_weight(size, "glorot_uniform", name="queries")
        self.kernel = self.add_weight(size, "glorot_uniform", name="kernel")
        self.bias = self.add_weight((size[0],), "zeros", name="bias")
        self.built = True

    def rescale(self, slope, shift):
        """Changes each logit to `slope * logit + shift`.

        Args:
            slope: float.
            shift: float `(num_modifiers,)`.
        """
        self.kernel.assign(slope * self.kernel)
        self.bias.assign(slope * self.bias + shift)

    def extract_regions(self, images, training=None):
        """Augments and encodes images; returns `(batch, regions, depth)`."""
        images = self.augmentation(images, training=training)
        return self.image_encoder(images, training=training)

    def extract_features(self, images, training=None):
        """Computes the mean region, `(batch, depth)`, for nearest neighbours."""
        return ops.mean(self.extract_regions(images, training=training), axis=1)

    def call(self, inputs, training=None):
        inputs = inputs if isinstance(inputs, dict) else {"images": inputs}
        if "regions" in inputs:
            regions = ops.cast(inputs["regions"], self.compute_dtype)
        else:
            regions = self.extract_regions(inputs["images"], training=training)
        regions = self.region_proj(regions)
        queries = ops.cast(self.queries, self.compute_dtype)[None]
        queries = ops.repeat(queries, ops.shape(regions)[0], axis=0)
        read = self.attention(queries, regions, training=training)
        x = self.attention_norm(queries + self.dropout(read, training=training))
        hidden = self.contract(self.expand(x))
        x = self.output_norm(x + self.dropout(hidden, training=training))
        x = ops.cast(x, "float32")
        return ops.einsum("bmd,md->bm", x, self.kernel) + self.bias

    def get_build_config(self):
        # The constructor has built every layer.
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "num_modifiers": self.num_modifiers,
            "encoder": self.encoder,
            "image_size": self.image_size,
            "conv_filters": self.conv_filters,
            "width": self.width,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "dropout_rate": self.dropout_rate,
            "threshold": self.threshold,
            "rotation_degrees": self.rotation_degrees,
            "flip": self.flip,
            "erasing_rate": self.erasing_rate,
        }
