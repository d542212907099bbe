"""Regressors: from an image directly to its prompt's embedding."""

import keras

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.models.backbones import build_backbone, describe_backbone


@keras.saving.register_keras_serializable(package="tf_prompt")
class EmbeddingRegressor(keras.Model):
    """Predicts the MiniLM embedding of the prompt that made an image.

    A backbone is followed by dense layers, and each of these but the last by dropout
    and GELU, in this order.

    Args:
        backbone: a name for `backbones.describe_backbone`, or the dict it returned.
        image_size: int > 0. Side of the images in pixels.
        hidden_dims: ints > 0. Widths of the dense layers before the last.
        dropout_rate: float in [0, 1).
        embedding_dim: int > 0. Width of the embeddings.
        rotation_degrees: see `Augmentation`.
        flip: see `Augmentation`.
        erasing_rate: see `Augmentation`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: `(batch, image_size, image_size, 3)`, 0-255.

    Returns:
        float32 `(batch, embedding_dim)`, not normalised.

    Reference: Patel et al., *Stable Diffusion - Image to Prompts*, "CustomViT".
    """

    def __init__(
        self,
        backbone,
        image_size,
        hidden_dims=(1024, 512),
        dropout_rate=0.5,
        embedding_dim=384,
        rotation_degrees=0.0,
        flip=False,
        erasing_rate=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(embedding_dim=embedding_dim)
        if not isinstance(backbone, dict):
            backbone = describe_backbone(backbone, image_size)
        self.backbone = backbone
        self.image_size = image_size
        self.hidden_dims = tuple(hidden_dims)
        self.dropout_rate = dropout_rate
        self.embedding_dim = embedding_dim
        self.rotation_degrees = rotation_degrees
        self.flip = flip
        self.erasing_rate = erasing_rate
        self.augmentation = Augmentation(rotation_degrees, flip, erasing_rate)
        self.image_backbone = build_backbone(backbone, image_size)
        self.hidden = [
            keras.layers.Dense(units, name=f"hidden_{index}")
            for index, units in enumerate(self.hidden_dims)
        ]
        self.dropout = keras.layers.Dropout(dropout_rate, name="dropout")
        self.output_proj = keras.layers.Dense(
            embedding_dim, dtype="float32", name="output_proj"
        )
        self._build_layers()

    def _build_layers(self):
        shape = self.image_backbone.output_shape
        for layer in self.hidden:
            layer.build(shape)
            shape = (None, layer.units)
        self.output_proj.build(shape)
        self.built = True

    def extract_features(self, images, training=None):
        """Runs augmentation and backbone.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.
            training: whether images are augmented.

        Returns:
            float `(batch, depth)`.
        """
        images = self.augmentation(images, training=training)
        return self.image_backbone(images, training=training)

    def call(self, images, training=None):
        x = self.extract_features(images, training=training)
        for layer in self.hidden:
            x = self.dropout(layer(x), training=training)
            x = keras.activations.gelu(x, approximate=False)
        return self.output_proj(x)

    def get_build_config(self):
        # The constructor has built every layer.
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "backbone": self.backbone,
            "image_size": self.image_size,
            "hidden_dims": self.hidden_dims,
            "dropout_rate": self.dropout_rate,
            "embedding_dim": self.embedding_dim,
            "rotation_degrees": self.rotation_degrees,
            "flip": self.flip,
            "erasing_rate": self.erasing_rate,
        }
