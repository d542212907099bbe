"""Builds a CLIP, MetaCLIP 2 or SigLIP by name, from a preset or a folder."""

import contextlib
import json
import pathlib

import keras
import keras_hub

from tf_prompt.layers.transformer import EPSILON, EncoderBlock
from tf_prompt.models import clip_conversion
from tf_prompt.models.backbones import number_positions
from tf_prompt.models.encoders import stack_convolutions

NAMES = ("tiny", "base")
# KerasHub's models with an image tower and a text tower.
PAIRS = (
    keras_hub.models.CLIPBackbone,
    keras_hub.models.MetaCLIP2Backbone,
    keras_hub.models.SigLIPBackbone,
)

_TEXT = {
    "tiny": {"embedding_dim": 128, "num_layers": 2, "num_heads": 4, "max_tokens": 48},
    "base": {"embedding_dim": 512, "num_layers": 12, "num_heads": 8, "max_tokens": 77},
}
_VOCAB_SIZE = {"tiny": 1024, "base": 49408}
_IMAGE_SIZE = {"tiny": 96, "base": 224}
_PROJECTION_DIM = {"tiny": 128, "base": 512}


@keras.saving.register_keras_serializable(package="tf_prompt")
class HybridVisionEncoder(keras.Model):
    """A vision tower for small data: convolutions, then Transformer blocks.

    A ViT on patches, as in CLIP, learns too slowly from thousands of images.

    Args:
        conv_filters: ints > 0. Channels of each convolution; the first reads patches
            of 4 x 4 pixels, the others halve the grid.
        num_layers: int >= 0. Number of Transformer blocks.
        num_heads: int > 0. Number of attention heads.
        hidden_dim: int > 0. Width of the feed-forward layers.
        image_shape: `(height, width, 3)`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: dict of `images`, float `(batch, height, width, 3)`, scaled.

    Returns:
        float `(batch, 1, depth)`: the mean region, in the place of the class token
        that `CLIPBackbone` reads.

    Reference: Xiao et al., 2021, https://arxiv.org/abs/2106.14881.
    """

    def __init__(
        self,
        conv_filters,
        num_layers,
        num_heads,
        hidden_dim,
        image_shape,
        **kwargs,
    ):
        dtype = kwargs.pop("dtype", None)
        images = keras.Input(tuple(image_shape), name="images")
        x = stack_convolutions(images, conv_filters, dtype)
        depth = conv_filters[-1]
        x = keras.layers.Reshape((-1, depth), dtype=dtype)(x)
        if num_layers:
            positions = keras_hub.layers.PositionEmbedding(x.shape[1], dtype=dtype)
            x = x + positions(x)
        for _ in range(num_layers):
            head_dim = depth // num_heads
            x = EncoderBlock(depth, num_heads, head_dim, hidden_dim, 0.0, dtype=dtype)(
                x
            )
        x = keras.layers.LayerNormalization(epsilon=EPSILON, dtype=dtype)(x)
        x = keras.layers.GlobalAveragePooling1D(keepdims=True, dtype=dtype)(x)
        super().__init__({"images": images}, x, **kwargs)
        self.dtype_policy = keras.dtype_policies.get(dtype)
        self.conv_filters = tuple(conv_filters)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.image_shape = tuple(image_shape)

    def get_config(self):
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "conv_filters": self.conv_filters,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "image_shape": self.image_shape,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def load_clip(source, vocab_size=None, image_size=None, dtype=None):
    """Builds a CLIP, MetaCLIP 2 or SigLIP, with weights if its source has any.

    Args:
        source: one of
            - `tiny` or `base`, an architecture with random weights: `tiny` for images
              of 96 pixels, `base` as in the preset `clip_vit_base_patch16`;
            - a KerasHub preset of CLIP, MetaCLIP 2 or SigLIP, or its folder;
            - the folder of a transformers `CLIPModel` or `MetaClip2Model`, with
              `config.json` and `.safetensors` files;
            - a dict from `describe`, without weights.
        vocab_size: int > 0 or None. Size of the tokenizer's vocabulary; may be chosen
            for architectures only.
        image_size: int > 0 or None. Side of the images in pixels; may be chosen for
            architectures only.
        dtype: dtype policy of the layers; None takes the global one.

    Returns:
        One of `PAIRS`; its images must be scaled.

    Raises:
        ValueError: if there is no such model, it cannot be downloaded, or a size is
            not the model's own.
    """
    if isinstance(source, str) and source in NAMES:
        return _build_architecture(source, vocab_size, image_size, dtype)
    if isinstance(source, dict):
        clip = _build_described(source, dtype)
    elif clip_conversion.is_transformers_folder(source):
        clip = clip_conversion.convert(source, dtype)
    else:
        clip = _load_preset(source, dtype)
    sizes = {
        "vocab_size": (vocab_size, clip.text_encoder.vocabulary_size),
        "image_size": (image_size, clip.vision_encoder.image_shape[0]),
    }
    for name, (wanted, own) in sizes.items():
        if wanted is not None and wanted != own:
            raise ValueError(
                f"`{name}` must be that of the clip, {own}, or None. Received: {wanted}"
            )
    return clip


def describe(clip) -> dict:
    """Returns a JSON-compatible dict from which `load_clip` builds the same CLIP."""
    content = keras.saving.serialize_keras_object(clip)
    # Turns tuples into lists, as in a CLIP that was saved and loaded.
    content = json.loads(json.dumps(content))
    content.pop("build_config", None)
    for config in _configs(content):
        # The model around it decides: a run in float16 is served in float32.
        config.pop("dtype", None)
    for part in ("vision_encoder", "text_encoder"):
        content["config"][part].pop("build_config", None)
    return content


def _build_described(content, dtype):
    content = json.loads(json.dumps(content))
    if dtype is not None:
        for config in _configs(content):
            config["dtype"] = keras.dtype_policies.serialize(
                keras.dtype_policies.get(dtype)
            )
    clip = keras.saving.deserialize_keras_object(content)
    number_positions(clip.vision_encoder)
    return clip


def _configs(content):
    config = content["config"]
    parts = (config["vision_encoder"], config["text_encoder"])
    return [config, *(part["config"] for part in parts)]


def _build_architecture(name, vocab_size, image_size, dtype):
    text = _TEXT[name]
    text_encoder = keras_hub.models.CLIPTextEncoder(
        vocabulary_size=_VOCAB_SIZE[name] if vocab_size is None else vocab_size,
        embedding_dim=text["embedding_dim"],
        hidden_dim=text["embedding_dim"],
        num_layers=text["num_layers"],
        num_heads=text["num_heads"],
        intermediate_dim=4 * text["embedding_dim"],
        max_sequence_length=text["max_tokens"],
        dtype=dtype,
        name="text_encoder",
    )
    side = _IMAGE_SIZE[name] if image_size is None else image_size
    if name == "tiny":
        vision_encoder = HybridVisionEncoder(
            conv_filters=(32, 64, 128),
            num_layers=1,
            num_heads=4,
            hidden_dim=256,
            image_shape=(side, side, 3),
            dtype=dtype,
            name="vision_encoder",
        )
    else:
        vision_encoder = keras_hub.models.CLIPVisionEncoder(
            patch_size=16,
            hidden_dim=768,
            num_layers=12,
            num_heads=12,
            intermediate_dim=3072,
            image_shape=(side, side, 3),
            dtype=dtype,
            name="vision_encoder",
        )
    clip = keras_hub.models.CLIPBackbone(
        vision_encoder, text_encoder, _PROJECTION_DIM[name], dtype=dtype, name="clip"
    )
    number_positions(clip.vision_encoder)
    return clip


def _load_preset(source, dtype):
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    # On the CPU, so that an accelerator does not hold the weights twice.
    is_cast = policy.compute_dtype != "float32"
    try:
        with keras.device("cpu:0") if is_cast else contextlib.nullcontext():
            clip = keras_hub.models.Backbone.from_preset(str(source))
    # Hubs raise errors of several libraries, from requests' to h5py's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"`clip` must be one of {', '.join(NAMES)}, a KerasHub preset within "
            f"reach, its folder or a folder of a transformers CLIPModel. "
            f"Received: {source} ({reason})"
        ) from error
    _check_pair(clip, pathlib.Path(source).name)
    return _cast(clip, policy) if is_cast else clip


def _check_pair(clip, name):
    if not isinstance(clip, PAIRS):
        raise ValueError(
            f"`clip` must be a CLIP, MetaCLIP 2 or SigLIP. Received: {name}, "
            f"a {type(clip).__name__}"
        )


def _cast(clip, policy):
    """Rebuilds a preset's model with another dtype policy.

    KerasHub 0.32 passes a policy to the towers only if the preset's file names none,
    and presets that it saves name one.
    """
    wanted = _build_described(describe(clip), policy)
    for variable, value in zip(wanted.weights, clip.weights, strict=True):
        variable.assign(value)
    return wanted
