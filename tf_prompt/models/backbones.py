"""Image networks: to the regions a captioner reads, or a regressor's one vector."""

import contextlib
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import keras_hub
from keras import ops

from tf_prompt.layers.arguments import check_positive


class PixelStatistics(NamedTuple):
    """Mean and standard deviation of pixels 0-1, a number a channel."""

    mean: Sequence[float]
    std: Sequence[float]


class Architecture(NamedTuple):
    """A class in KerasHub, its arguments, and the preset of its weights.

    One without a preset learns from the start.
    """

    network_class: type
    arguments: dict
    preset: str | None


IMAGENET = PixelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Of OpenAI's training images; the OpenCLIP presets have the same.
CLIP = PixelStatistics(
    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
_HALVES = PixelStatistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# What networks of a class were trained on, those of no class here on `IMAGENET`.
_STATISTICS = {
    keras_hub.models.CLIPVisionEncoder: CLIP,
    keras_hub.models.MetaCLIP2VisionEncoder: CLIP,
    keras_hub.models.SigLIPVisionEncoder: _HALVES,
    keras_hub.models.ViTBackbone: _HALVES,
}
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
}
# Encoders of captioners.
ENCODERS = ("resnet50", "conv")


def build_encoder(name, image_size, conv_filters=()):
    """Builds a network from images to region features, scaling inside.

    Args:
        name: `resnet50`: ResNet50 v1.5 without its top, frozen; 224 pixels give
            49 regions 2048 wide. `conv`: small and trainable; patches of 4 x 4
            pixels, then convolutions of stride 2.
        image_size: int > 0, pixels a side.
        conv_filters: channels of each convolution; `conv` only.

    Returns:
        `keras.Model` from `(batch, image_size, image_size, 3)`, 0-255, to
        `(batch, regions, depth)`. A pretrained part is its layer `backbone`.

    Raises:
        ValueError: for an unknown name, a size below 1 or absent filters.

    Reference: He et al., 2015, https://arxiv.org/abs/1512.03385. Version 1.5
    moves the stride of a bottleneck into its 3x3 convolution.
    """
    if name not in ENCODERS:
        raise ValueError(
            f"`encoder` must be one of {ENCODERS}. Received: encoder={name}"
        )
    check_positive(image_size=image_size)
    images = keras.Input((image_size, image_size, 3), name="images")
    if name == "resnet50":
        features = _resnet50(images)
    else:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
        features = stack_convolutions(x, conv_filters)
    height, width, depth = features.shape[1:]
    # A residual stage ends in a sum whose shape Keras may leave open.
    regions = keras.layers.Reshape((math.prod((height, width)), depth))(features)
    return keras.Model(images, regions, name="encoder")


def _resnet50(images):
    x = keras.layers.Rescaling(1 / 255)(images)
    # Not `build_scaling`: saved models hold these two layers, and its numbers
    # differ from theirs in the last bit.
    x = keras.layers.Normalization(
        mean=IMAGENET.mean,
        variance=[std**2 for std in IMAGENET.std],
        name="imagenet_scale",
    )(x)
    network_class, arguments, _ = ARCHITECTURES["resnet50"]
    backbone = network_class(**arguments, name="backbone")
    backbone.trainable = False
    return backbone(x, training=False)


def stack_convolutions(x, filters, dtype=None):
    """Convolutions for small data: patches of 4 x 4 pixels, then strides of 2.

    Args:
        x: symbolic tensor `(batch, height, width, channels)`, scaled.
        filters: int > 0 each. Channels of each convolution.
        dtype: of the layers; None takes Keras' policy.

    Returns:
        Symbolic tensor of feature maps, `(batch, rows, columns, filters[-1])`.

    Raises:
        ValueError: for absent filters, or one that is not positive.
    """
    if not filters or min(filters) < 1:
        raise ValueError(
            "`conv_filters` must be positive numbers, one a convolution. "
            f"Received: conv_filters={filters}"
        )
    for index, channels in enumerate(filters):
        # Patches first: on a CPU, layers at half the image's size cost most.
        size, strides = (3, 2) if index else (4, 4)
        x = keras.layers.Conv2D(
            channels, size, strides=strides, padding="same", dtype=dtype
        )(x)
        # Not batch normalisation: a batch holds prompts of one length, and so
        # pictures that are more alike than those of the moving average.
        groups = math.gcd(channels, 8)
        x = keras.layers.GroupNormalization(groups, dtype=dtype)(x)
        x = keras.layers.Activation("relu", dtype=dtype)(x)
    return x


def describe_backbone(name, image_size):
    """Finds out all that it takes to build a backbone, without its weights.

    Args:
        name: a key of `ARCHITECTURES`, a KerasHub image preset, or the folder of
            one. Of a CLIP preset it is the vision tower.
        image_size: int > 0, pixels a side.

    Returns:
        JSON content: `class_name` in `keras_hub.models` and its `arguments`;
        `mean` and `std` of pixels 0-1, a number a channel.

    Raises:
        ValueError: for an unknown name, or a preset out of reach or of no image
            model.
    """
    if name in ARCHITECTURES:
        network_class, arguments, _ = ARCHITECTURES[name]
        pixels = _STATISTICS.get(network_class, IMAGENET)
    else:
        rule = (
            f"backbone must be one of {', '.join(ARCHITECTURES)}, a KerasHub preset "
            "within reach or a preset's folder"
        )
        with _explain(rule, name):
            network = keras_hub.models.Backbone.from_preset(
                str(name), load_weights=False
            )
        network = _vision_part(network)
        network_class, arguments = type(network), network.get_config()
        pixels = _preset_statistics(name, network_class)
    # The model that holds the backbone decides name and precision.
    kept = {k: v for k, v in arguments.items() if k not in ("name", "dtype")}
    description = {
        "class_name": network_class.__name__,
        "arguments": {**kept, "image_shape": (image_size, image_size, 3)},
        **pixels._asdict(),
    }
    # Tuples become lists, as they will when the model is loaded from its file.
    return json.loads(json.dumps(description))


def build_backbone(description, image_size):
    """Builds a backbone that scales pixels itself and gives one vector an image.

    A network of tokens gives its class token, the first; one of feature maps their
    mean over the picture.

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
    pixels = PixelStatistics(description["mean"], description["std"])
    x = build_scaling(pixels, "scale")(images)
    features = network({"images": x} if isinstance(network.input, dict) else x)
    if isinstance(features, dict):
        features = features["sequence_output"]
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    else:
        features = features[:, 0]
    return keras.Model(images, features, name="image_backbone")


def _build_network(description, image_size):
    check_positive(image_size=image_size)
    class_name = description["class_name"]
    try:
        network_class = getattr(keras_hub.models, class_name)
        network = network_class.from_config(
            {**description["arguments"], "name": "backbone"}
        )
    except ValueError as error:
        raise ValueError(
            f"`image_size` must suit {class_name}. "
            f"Received: image_size={image_size} ({error})"
        ) from error
    number_positions(network)
    return network


def pair_statistics(vision_encoder) -> PixelStatistics:
    """Tells on which pixels the vision tower of a pair, see `clip.PAIRS`, learned."""
    return _STATISTICS.get(type(vision_encoder), CLIP)


def build_scaling(pixels: PixelStatistics, name: str):
    """Builds the layer from pixels 0-255 to numbers of mean 0 and deviation 1."""
    return keras.layers.Rescaling(
        [1 / (255 * std) for std in pixels.std],
        [-mean / std for mean, std in zip(pixels.mean, pixels.std, strict=True)],
        name=name,
    )


def load_weights(model, source):
    """Fills the pretrained part of an encoder or a backbone.

    Tables of positions that differ in length, as at another resolution, are
    interpolated.

    Args:
        model: of `build_encoder` or `build_backbone`.
        source: a KerasHub preset, from its cache or the network, a preset's
            folder, or a `.weights.h5` file of this very network.

    Raises:
        ValueError: if the weights cannot be had or do not fit; says what to do.
    """
    network = model.get_layer("backbone")
    rule = (
        "backbone_weights must be a KerasHub preset within reach, a preset's folder "
        "or a .weights.h5 file that fits the backbone"
    )
    with _explain(rule, source):
        if str(source).endswith(".h5"):
            network.load_weights(source)
            return
        pretrained = keras_hub.models.Backbone.from_preset(str(source))
    _copy_weights(_vision_part(pretrained).weights, network, source)


@contextlib.contextmanager
def _explain(rule, source):
    """Turns any error into one that says which rule `source` broke."""
    try:
        yield
    # Hubs raise errors of several libraries, from requests' to h5py's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"{rule}. Received: {source} ({reason}). Without a network give a preset's "
            "folder or a .weights.h5 file with --backbone-weights, or train on random "
            "ones with --backbone-weights random"
        ) from error


def _copy_weights(pretrained, network, source):
    if len(pretrained) != len(network.weights):
        raise ValueError(
            f"backbone_weights must be those of {type(network).__name__} with "
            f"{len(network.weights)} arrays. Received: {source} with {len(pretrained)}"
        )
    for variable, value in zip(network.weights, pretrained, strict=True):
        if "position_ids" in variable.path:
            continue
        if variable.shape != value.shape:
            value = _fit_positions(value, variable, source)
        variable.assign(value)


def _fit_positions(value, variable, source):
    if "position" not in variable.path or value.shape[1:] != variable.shape[1:]:
        raise ValueError(
            f"backbone_weights must hold {variable.path} of shape "
            f"{tuple(variable.shape)}. Received: {source} with {tuple(value.shape)}"
        )
    return interpolate_positions(value, variable.shape[0])


def interpolate_positions(table, length):
    """Stretches a table of positions to another grid of patches.

    Args:
        table: float `(1 + side * side, dim)`, the class token's row first.
        length: int, rows wanted, one more than a square number.

    Returns:
        float `(length, dim)`: the class token's row as it was, the others
        interpolated as an image (bicubic).

    Reference: Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929, 3.2.
    """
    before, after = (round((n - 1) ** 0.5) for n in (table.shape[0], length))
    grid = ops.reshape(table[1:], (1, before, before, table.shape[-1]))
    grid = ops.image.resize(grid, (after, after), interpolation="bicubic")
    return ops.concatenate(
        [table[:1], ops.reshape(grid, (after * after, table.shape[-1]))]
    )


def number_positions(network):
    """Gives each patch of a CLIP its own position.

    KerasHub 0.32 fills these numbers from a preset's weights only; without them
    they are all 0, and no patch knows where it is.
    """
    for variable in network.weights:
        if variable.path.endswith("position_ids"):
            variable.assign(ops.arange(variable.shape[1])[None])


def _vision_part(network):
    if isinstance(network, keras_hub.models.CLIPBackbone):
        return network.vision_encoder
    if not hasattr(network, "image_shape"):
        raise ValueError(
            f"backbone must be a network of images. Received: {type(network).__name__}"
        )
    return network


def _preset_statistics(name, network_class):
    """What the preset's own preprocessing does: pixels * scale + offset."""
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(str(name))
    # A preset may come without one; then its family's usual statistics hold.
    except (ValueError, OSError):
        return _STATISTICS.get(network_class, IMAGENET)
    scale, offset = _per_channel(converter.scale, 1), _per_channel(converter.offset, 0)
    std = [1 / (255 * s) for s in scale]
    return PixelStatistics([-o * s for o, s in zip(offset, std, strict=True)], std)


def _per_channel(value, default):
    value = default if value is None else value
    return [float(v) for v in (value if hasattr(value, "__len__") else [value] * 3)]
