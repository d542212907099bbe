"""KerasHub's image backbones, with an output of regions or of one vector per image."""

import json
import math
from typing import NamedTuple

import keras
import keras_hub
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.models import efficientnet_lite
from tf_prompt.models.image_network import ImageNetwork
from tf_prompt.models.pretrained import (
    PixelStatistics,
    find_statistics,
    open_network,
    usual_statistics,
)


class Architecture(NamedTuple):
    """A KerasHub class, its arguments, and the source of its weights.

    Attributes:
        network_class: the class.
        arguments: dict of its constructor's arguments, without the size of the images.
        weights: preset with pretrained weights; None if it is trained from scratch.
        pixels: mean and standard deviation of pixels 0-1; None takes those usual for
            the class.
        same_padding: whether strided convolutions pad like TensorFlow's `same`.
    """

    network_class: type
    arguments: dict
    weights: str | None
    pixels: PixelStatistics | None = None
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
    """The number of tokens before the patches, and of those with a position."""

    tokens: int
    positions: int


_NO_PREFIX, _CLASS_TOKEN = Prefix(0, 0), Prefix(1, 1)
# By class of network. Swin has no class token: its first token is a patch.
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
    # It rotates queries and keys instead of adding positions.
    keras_hub.models.DINOV3Backbone: lambda arguments: Prefix(
        1 + arguments["num_register_tokens"], 0
    ),
}


def count_prefix(network_class: type, arguments: dict) -> Prefix:
    """Returns how many class and register tokens a network has."""
    return _PREFIXES.get(network_class, lambda _: _NO_PREFIX)(arguments)


def _require_regions(network) -> None:
    """Checks that a network's output is feature maps, or tokens in a known order."""
    shape = getattr(network.output, "shape", ())
    if type(network) not in _PREFIXES and len(shape) != 4:
        raise ValueError(
            "backbone must return feature maps, or be a ViT, DeiT, CLIP, MetaCLIP 2, "
            f"SigLIP, DINOv2, DINOv3 or Swin. Received: {type(network).__name__}"
        )


def describe_backbone(name: str, image_size: int) -> dict:
    """Describes a backbone completely, except for its weights.

    Args:
        name: a key of `ARCHITECTURES`, or a name that `pretrained.open_network` takes.
        image_size: int > 0. Side of the images in pixels.

    Returns:
        JSON-compatible dict: `class_name` in `keras_hub.models` and its `arguments`;
        `mean` and `std` of pixels 0-1, one number per channel; `prefix_tokens`, the
        number of class and register tokens; `same_padding`, see `Architecture`.

    Raises:
        ValueError: for an unknown name, a preset that cannot be downloaded, or one
            that is not an image model.
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
    # Name and precision are decided by the model around the backbone.
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
    # Turns tuples into lists, as in a model that is loaded from its file.
    return json.loads(json.dumps(description))


def _shapes(network_class, image_size) -> dict:
    """Returns the arguments that depend on the size of the images."""
    shape = (image_size, image_size, 3)
    if network_class is keras_hub.models.EfficientNetBackbone:
        return {"input_shape": shape}
    if network_class is keras_hub.models.DINOV2Backbone:
        # Tables of different lengths would be interpolated back and forth on each save
        # and load.
        return {"image_shape": shape, "position_embedding_shape": shape}
    return {"image_shape": shape}


def build_backbone(description: dict, image_size: int) -> keras.Model:
    """Builds a backbone that scales its pixels and returns one vector per image.

    The vector is the class token, or SigLIP's attention head, if there is one, else
    the mean over the image.

    Args:
        description: from `describe_backbone`.
        image_size: int > 0. Side of the images in pixels.

    Returns:
        `keras.Model` from `(batch, image_size, image_size, 3)`, 0-255, to
        `(batch, depth)`. KerasHub's network is its layer `backbone`.

    Raises:
        ValueError: if the network does not accept this size.
    """
    network = _build_network(description, image_size)
    images = keras.Input((image_size, image_size, 3), name="images")
    features = _call(network, _scale(images, description))
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    # Older descriptions lack the key: only networks with a class token existed.
    elif len(features.shape) == 3 and description.get("prefix_tokens", 1):
        features = features[:, 0]
    elif len(features.shape) == 3:
        features = keras.layers.GlobalAveragePooling1D(name="pool")(features)
    return ImageNetwork(images, features, name="image_backbone")


def build_regions(description: dict, image_size: int, trainable: bool) -> keras.Model:
    """Builds a backbone that scales its pixels and returns the regions of images.

    Batch normalisation keeps its statistics even if the network is trained: batches
    are made of prompts of similar length, and so of similar images.

    Args:
        description: from `describe_backbone`.
        image_size: int > 0. Side of the images in pixels.
        trainable: whether the network's weights are trained.

    Returns:
        `keras.Model` from `(batch, image_size, image_size, 3)`, 0-255, to
        `(batch, regions, depth)`, a square grid in row-major order, without class and
        register tokens. KerasHub's network is its layer `backbone`.

    Raises:
        ValueError: if the network does not accept this size.
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
    return ImageNetwork(images, regions, name="encoder")


def without_head(network: keras.Model) -> keras.Model:
    """Removes from a SigLIP the head that pools its patches into one vector."""
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
    """Checks sizes that KerasHub's patch networks would crop, or fail on."""
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
    """Builds a layer that scales pixels to mean 0 and standard deviation 1.

    Args:
        pixels: mean and standard deviation of pixels 0-1, a number per channel each.
        name: name of the layer.

    Returns:
        Layer from pixels 0-255, `(…, 3)`, to the same shape.
    """
    return keras.layers.Rescaling(
        [1 / (255 * std) for std in pixels.std],
        [-mean / std for mean, std in zip(pixels.mean, pixels.std, strict=True)],
        name=name,
    )


def number_positions(network) -> None:
    """Numbers the positions of a CLIP's or SigLIP's patches.

    KerasHub 0.32 sets `position_ids` only when it loads a preset's weights; otherwise
    all are 0, and all patches get the same position.
    """
    for variable in network.weights:
        if variable.path.endswith("position_ids"):
            variable.assign(ops.arange(variable.shape[1])[None])


def fix_positions(network) -> None:
    """Freezes the position embeddings of DINOv2, which KerasHub 0.32 may not save.

    It saves trained ones only if the sum of all changes is positive.
    """
    if isinstance(network, keras_hub.models.DINOV2Backbone):
        network.embeddings.interpolated_position_embeddings.trainable = False
