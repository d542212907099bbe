"""CLIP and similar models: images and texts embedded in one space."""

import math

import keras
from keras import ops

from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.models.backbones import build_scaling
from tf_prompt.models.clip import describe, load_clip
from tf_prompt.models.pretrained import CLIP, usual_statistics

# Larger logits made CLIP's training unstable.
MAX_SCALE = 100.0


@keras.saving.register_keras_serializable(package="tf_prompt")
class CLIPInterrogator(keras.Model):
    """Ranks texts by CLIP's similarity with images.

    Args:
        clip: an architecture, preset or folder, see `clip.load_clip`, or a serialised
            CLIP. After construction it is always the latter, so that saved models load
            without the network.
        vocab_size: int > 0 or None. Size of the vocabulary; None: the CLIP's.
        image_size: int > 0 or None. Side of the images in pixels; None: the CLIP's.
        rotation_degrees: see `Augmentation`.
        flip: see `Augmentation`.
        erasing_rate: see `Augmentation`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: dict of `images`, `(batch, image_size, image_size, 3)`, 0-255,
            and `token_ids`, int `(texts, tokens)`: start token, text, end token,
            then zeros. The embedding is read at the end token, which has the highest
            id.

    Returns:
        logits: float32 `(batch, texts)`, cosines times the learned scale, at most 100.

    Raises:
        ValueError: if there is no such CLIP, a size is not its own, or its towers
            return different widths.

    Reference: Radford et al., 2021, https://arxiv.org/abs/2103.00020, figure 3.
    """

    def __init__(
        self,
        clip,
        vocab_size=None,
        image_size=None,
        rotation_degrees=0.0,
        flip=False,
        erasing_rate=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.backbone = load_clip(clip, vocab_size, image_size, self.dtype_policy)
        self.rotation_degrees = rotation_degrees
        self.flip = flip
        self.erasing_rate = erasing_rate
        self.augmentation = Augmentation(rotation_degrees, flip, erasing_rate)
        images = keras.Input((self.image_size, self.image_size, 3), name="images")
        # The small CLIP's tower has a class of its own.
        pixels = usual_statistics(type(self.backbone.vision_encoder), CLIP)
        scaled = build_scaling(pixels, "clip_scale")(images)
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        unit = keras.layers.UnitNormalization
        # Functional, so that `predict_on_batch` of each compiles half of a CLIP.
        self.image_network = keras.Model(
            images,
            unit(dtype="float32")(self.backbone.get_vision_embeddings(scaled)),
            name="image_network",
        )
        self.text_network = keras.Model(
            token_ids,
            unit(dtype="float32")(self.backbone.get_text_embeddings(token_ids)),
            name="text_network",
        )
        self._check_widths()
        self.build()

    def _check_widths(self):
        images, texts = (
            network.output_shape[-1]
            for network in (self.image_network, self.text_network)
        )
        if images != texts:
            raise ValueError(
                "`clip` must have towers of equal width, so that their embeddings can "
                f"be compared. Received: {images} of images and {texts} of texts"
            )

    def build(self, input_shape=None):
        # The constructor has built every layer; this marks the model as built.
        self.built = True

    @property
    def clip(self):
        """The serialised CLIP, a JSON-compatible dict."""
        return describe(self.backbone)

    @property
    def vocab_size(self):
        """Size of the vocabulary."""
        return self.backbone.text_encoder.vocabulary_size

    @property
    def image_size(self):
        """Side of the images in pixels."""
        return self.backbone.vision_encoder.image_shape[0]

    @property
    def max_tokens(self):
        """Maximum number of tokens, start and end included."""
        return self.backbone.text_encoder.max_sequence_length

    @property
    def embedding_dim(self):
        """Width of the embeddings."""
        return self.image_network.output_shape[-1]

    @property
    def precision(self):
        """Name of the dtype policy, such as `float16`; embeddings depend on it."""
        return self.dtype_policy.name

    @property
    def is_causal(self):
        """Whether attention is causal, so that texts need no padding."""
        blocks = self.backbone.text_encoder.encoder_layers
        return all(block.use_causal_mask for block in blocks)

    def encode_images(self, images):
        """Embeds images.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.

        Returns:
            float32 `(batch, embedding_dim)`, of unit length.
        """
        return self.image_network(images)

    def encode_texts(self, token_ids):
        """Embeds texts.

        Args:
            token_ids: int `(texts, tokens)`, see the call.

        Returns:
            float32 `(texts, embedding_dim)`, of unit length.
        """
        return self.text_network(token_ids)

    def scale(self):
        """Returns the factor of the cosines, the inverse of the temperature."""
        heads = ("clip_head", "metaclip_2_head", "siglip_head")
        head = next(
            getattr(self.backbone, h) for h in heads if hasattr(self.backbone, h)
        )
        logit_scale = ops.cast(head.logit_scale, "float32")
        return ops.exp(ops.minimum(logit_scale, math.log(MAX_SCALE)))

    def call(self, inputs, training=None):
        images = self.augmentation(inputs["images"], training=training)
        images = self.image_network(images, training=training)
        texts = self.text_network(inputs["token_ids"], training=training)
        return self.scale() * ops.matmul(images, ops.transpose(texts))

    def get_build_config(self):
        # The constructor has built every layer.
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "clip": self.clip,
            "vocab_size": self.vocab_size,
            "image_size": self.image_size,
            "rotation_degrees": self.rotation_degrees,
            "flip": self.flip,
            "erasing_rate": self.erasing_rate,
        }
