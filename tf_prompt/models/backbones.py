"""Image networks of KerasHub: to the regions of a captioner, or one vector an image."""

import json
import math
from typing import NamedTuple

import keras
import keras_hub
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.models import efficientnet_lite
from tf_prompt.models.pretrained import (
    PixelStatistics,
    find_statistics,
    open_network,
    usual_statistics,
)


class Architecture(NamedTuple):
    """A class in KerasHub, its arguments, and the source of its weights.

    One without a source learns from the start.
    """

    network_class: type
    arguments: dict
    weights: str | None
    # None are those that are usual for the class.
    pixels: PixelStatistics | None = None
    # Whether strided convolutions pad as TensorFlow's `same`.
    same_padding: bool = False


ARCHITECTURES = {
    "vit_base": Architecture(
        keras_hub.models.ViTBackbone,
        dict(patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072),
        "vit_base_patch16_224_imagenet",
    ),
    "resnet50": Architecture(
        keras_hub.models.ResNetBackbone,
        {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": [3, 4, 6, 3],
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": "bottleneck_block",
        },
        "resnet_50_imagenet",
    ),
    "vit_tiny": Architecture(
        keras_hub.models.ViTBackbone,
        dict(patch_size=12, num_layers=4, num_heads=4, hidden_dim=128, mlp_dim=256),
        None,
    ),
    "resnet_tiny": Architecture(
        keras_hub.models.ResNetBackbone,
        {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 128, 256],
            "stackwise_num_blocks": [1, 1, 1],
            "stackwise_num_strides": [1, 2, 2],
            "block_type": "basic_block",
        },
        None,
    ),
} | {
    name: Architecture(
        keras_hub.models.EfficientNetBackbone,
        arguments,
        name,
        PixelStatistics(*efficientnet_lite.PIXELS),
        same_padding=True,
    )
    for name, arguments in efficientnet_lite.ARGUMENTS.items()
}


class Prefix(NamedTuple):
    """Tokens before those of the patches: in all, and those that have a position."""

    tokens: int
    positions: int


_NO_PREFIX, _CLASS_TOKEN = Prefix(0, 0), Prefix(1, 1)
# Networks of tokens by their class: where a class token would be, Swin has a patch.
_PREFIXES = {
    keras_hub.models.CLIPVisionEncoder: lambda _: _CLASS_TOKEN,
    keras_hub.models.MetaCLIP2VisionEncoder: lambda _: _CLASS_TOKEN,
    keras_hub.models.SigLIPVisionEncoder: lambda _: _NO_PREFIX,
    keras_hub.models.SwinTransformerBackbone: lambda _: _NO_PREFIX,
    keras_hub.models.ViTBackbone: lambda arguments: (
        _CLASS_TOKEN if arguments.get("use_class_token", True) else _NO_PREFIX
    ),
    # Class and distillation.
    keras_hub.models.DeiTBackbone: lambda _: Prefix(2, 2),
    keras_hub.models.DINOV2Backbone: lambda arguments: Prefix(
        1 + arguments["num_register_tokens"], 1
    ),
    # It turns queries and keys instead of adding positions.
    keras_hub.models.DINOV3Backbone: lambda arguments: Prefix(
        1 + arguments["num_register_tokens"], 0
    ),
}


def count_prefix(network_class: type, arguments: dict) -> Prefix:
    """Counts class and register tokens of a network by its class."""
    return _PREFIXES.get(network_class, lambda _: _NO_PREFIX)(arguments)


def _require_regions(network) -> None:
    """Checks that a network gives feature maps, or tokens that are known here."""
    shape = getattr(network.output, "shape", ())
    if type(network) not in _PREFIXES and len(shape) != 4:
        raise ValueError(
            "backbone must give feature maps, or be a ViT, DeiT, CLIP, MetaCLIP 2, "
            f"SigLIP, DINOv2, DINOv3 or Swin. Received: {type(network).__name__}"
        )


def describe_backbone(name: str, image_size: int) -> dict:
    """Finds out all that it takes to build a backbone, without its weights.

    Args:
        name: a key of `ARCHITECTURES`, or what `pretrained.open_network` takes.
        image_size: int > 0, pixels a side.

    Returns:
        JSON content: `class_name` in `keras_hub.models` and its `arguments`;
        `mean` and `std` of pixels 0-1, a number a channel; `prefix_tokens`, those
        of class and registers; `same_padding` where strided convolutions pad so.

    Raises:
        ValueError: for an unknown name, or a preset out of reach or of no image
            model.
    """
    if name in ARCHITECTURES:
        architecture = ARCHITECTURES[name]
        network_class, arguments = architecture.network_class, architecture.arguments
        pixels = architecture.pixels or usual_statistics(network_class)
        same_padding = architecture.same_padding
    else:
        rule = (
            f"backbone must be one of {', '.join(ARCHITECTURES)}, a KerasHub preset "
            "within reach, a preset's folder or a transformers folder"
        )
        network = open_network(name, rule, load_weights=False)
        _require_regions(network)
        network_class, arguments = type(network), network.get_config()
        pixels, same_padding = find_statistics(name, network_class), False
    # The model that holds the backbone decides name and precision.
    kept = {k: v for k, v in arguments.items() if k not in ("name", "dtype")}
    kept.update(_shapes(network_class, image_size))
    description = {
        "class_name": network_class.__name__,
        "arguments": kept,
        **pixels._asdict(),
        "prefix_tokens": count_prefix(network_class, kept).tokens,
    }
    if same_padding:
        description["same_padding"] = True
    # Tuples become lists, as they will when the model is loaded from its file.
    return json.loads(json.dumps(description))


def _shapes(network_class, image_size) -> dict:
    """Arguments that depend on the size of the images."""
    shape = (image_size, image_size, 3)
    if network_class is keras_hub.models.EfficientNetBackbone:
        return {"input_shape": shape}
    if network_class is keras_hub.models.DINOV2Backbone:
        # Two tables of one length: KerasHub else stretches what it has saved back
        # and forth.
        return {"image_shape": shape, "position_embedding_shape": shape}
    return {"image_shape": shape}


def build_backbone(description: dict, image_size: int) -> keras.Model:
    """Builds a backbone that scales pixels itself and gives one vector an image.

    A network with a class token gives that; SigLIP's attention head is one too; any
    other gives the mean over the image.

    Args:
        description: of `describe_backbone`.
        image_size: int > 0, pixels a side.

    Returns:
        `keras.Model` from `(batch, image_size, image_size, 3)`, 0-255, to
        `(batch, depth)`. KerasHub's network is its layer `backbone`.

    Raises:
        ValueError: if the size does not suit the network.
    """
    network = _build_network(description, image_size)
    images = keras.Input((image_size, image_size, 3), name="images")
    features = _call(network, _scale(images, description))
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    # Descriptions of before know networks with a class token only.
    elif len(features.shape) == 3 and description.get("prefix_tokens", 1):
        features = features[:, 0]
    elif len(features.shape) == 3:
        features = keras.layers.GlobalAveragePooling1D(name="pool")(features)
    return keras.Model(images, features, name="image_backbone")


def build_regions(description: dict, image_size: int, trainable: bool) -> keras.Model:
    """Builds a backbone that scales pixels itself and gives the regions of an image.

    Its batch normalisation keeps the statistics that it has, also where it learns: a
    batch of captions holds prompts of like length, and so images that are alike.

    Args:
        description: of `describe_backbone`.
        image_size: int > 0, pixels a side.
        trainable: whether the network learns.

    Returns:
        `keras.Model` from `(batch, image_size, image_size, 3)`, 0-255, to
        `(batch, regions, depth)`, a square grid row by row, without tokens of class
        and registers. KerasHub's network is its layer `backbone`.

    Raises:
        ValueError: if the size does not suit the network.
    """
    network = without_head(_build_network(description, image_size))
    network.trainable = trainable
    images = keras.Input((image_size, image_size, 3), name="images")
    features = _call(network, _scale(images, description), training=False)
    if len(features.shape) == 4:
        height, width, depth = features.shape[1:]
        # A residual stage ends in a sum whose shape Keras may leave open.
        regions = keras.layers.Reshape((math.prod((height, width)), depth))(features)
    else:
        prefix = description["prefix_tokens"]
        # KerasHub 0.32 counts a class token in the static shape of SigLIP, which has
        # none: the number of patches is a square.
        count = math.isqrt(features.shape[1] - prefix) ** 2
        regions = features[:, prefix : prefix + count]
    return keras.Model(images, regions, name="encoder")


def without_head(network: keras.Model) -> keras.Model:
    """Leaves out of a SigLIP the head that makes one vector of its patches."""
    if not isinstance(network, keras_hub.models.SigLIPVisionEncoder):
        return network
    tokens = network.post_layer_norm.output
    return keras.Model(network.input, tokens, name="backbone")


def _scale(images, description):
    pixels = PixelStatistics(description["mean"], description["std"])
    return build_scaling(pixels, "scale")(images)


def _call(network, x, **options):
    if isinstance(network.input, dict):
        (name,) = network.input
        x = {name: x}
    features = network(x, **options)
    return features["sequence_output"] if isinstance(features, dict) else features


def _build_network(description, image_size):
    check_positive(image_size=image_size)
    class_name = description["class_name"]
    _require_fitting(class_name, description["arguments"], image_size)
    try:
        network_class = getattr(keras_hub.models, class_name)
        network = network_class.from_config(
            {**description["arguments"], "name": "backbone"}
        )
    except ValueError as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"`image_size` must suit {class_name}. "
            f"Received: image_size={image_size} ({reason})"
        ) from error
    if description.get("same_padding"):
        efficientnet_lite.pad_like_tensorflow(network)
    number_positions(network)
    fix_positions(network)
    return network


def _require_fitting(class_name, arguments, image_size) -> None:
    """Checks what KerasHub's networks of patches cut off, or stumble over."""
    patch = arguments.get("patch_size", 1)
    patch = patch if isinstance(patch, int) else patch[0]
    rule = f"a multiple of its patches of {patch} pixels"
    fits = image_size % patch == 0
    if fits and class_name == "SwinTransformerBackbone":
        # A window wider than the last grid fails in KerasHub 0.32.
        least = patch * 2 ** (len(arguments["depths"]) - 1) * arguments["window_size"]
        rule, fits = f"at least {least} pixels", image_size >= least
    if not fits:
        raise ValueError(
            f"`image_size` must suit {class_name}: {rule}. "
            f"Received: image_size={image_size}"
        )


def build_scaling(pixels: PixelStatistics, name: str):
    """Builds the layer from pixels 0-255 to numbers of mean 0 and deviation 1."""
    return keras.layers.Rescaling(
        [1 / (255 * std) for std in pixels.std],
        [-mean / std for mean, std in zip(pixels.mean, pixels.std, strict=True)],
        name=name,
    )


def number_positions(network) -> None:
    """Gives each patch of a CLIP or SigLIP its own position.

    KerasHub 0.32 fills these numbers from a preset's weights only; without them
    they are all 0, and no patch knows where it is.
    """
    for variable in network.weights:
        if variable.path.endswith("position_ids"):
            variable.assign(ops.arange(variable.shape[1])[None])


def fix_positions(network) -> None:
    """Keeps DINOv2 from learning positions, of which KerasHub 0.32 loses some.

    It saves what was learned only where the sum of all changes is positive.
    """
    if isinstance(network, keras_hub.models.DINOV2Backbone):
        network.embeddings.interpolated_position_embeddings.trainable = False
