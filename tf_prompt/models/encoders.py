"""Encoders of captioners: from images to the regions that a decoder reads."""

import math

import keras

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.normalization import GroupNormalization
from tf_prompt.models.backbones import ARCHITECTURES, build_regions, describe_backbone
from tf_prompt.models.image_network import ImageNetwork
from tf_prompt.models.pretrained import IMAGENET

# It has no name in KerasHub, and no pretrained weights.
CONVOLUTIONS = "conv"


def describe_encoder(name, image_size: int):
    """Describes an encoder completely, except for its weights.

    Args:
        name: `conv`, `resnet50`, a name that `backbones.describe_backbone` takes, or
            an earlier result of this function.
        image_size: int > 0, side of the images in pixels.

    Returns:
        The result of `describe_backbone`; `conv` and `resnet50` stay names, because
        saved models contain them as such.

    Raises:
        ValueError: for an unknown name, or a preset that cannot be downloaded.
    """
    if isinstance(name, dict) or name in (CONVOLUTIONS, "resnet50"):
        return name
    return describe_backbone(name, image_size)


def build_encoder(encoder, image_size: int, conv_filters=(), trainable=False):
    """Builds a network from images to region features; it scales the pixels itself.

    Args:
        encoder: from `describe_encoder`. `resnet50` is ResNet50 v1.5 without its top;
            images of 224 pixels give 49 regions of width 2048. `conv` reads patches
            of 4 x 4 pixels, followed by convolutions with stride 2.
        image_size: int > 0, side of the images in pixels.
        conv_filters: channels of each convolution, for `conv` only.
        trainable: whether a pretrained network is trained; `conv` always is.

    Returns:
        `keras.Model` from `(batch, image_size, image_size, 3)`, 0-255, to
        `(batch, regions, depth)`. A pretrained part is its layer `backbone`.

    Raises:
        ValueError: for a size that is not positive or does not suit the network, or
            if `conv` has no filters.

    Reference: He et al., 2015, https://arxiv.org/abs/1512.03385. Version 1.5
    moves the stride of a bottleneck into its 3x3 convolution.
    """
    check_positive(image_size=image_size)
    if isinstance(encoder, dict):
        return build_regions(encoder, image_size, trainable)
    images = keras.Input((image_size, image_size, 3), name="images")
    if encoder == "resnet50":
        features = _resnet50(images, trainable)
    else:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
        features = stack_convolutions(x, conv_filters)
    height, width, depth = features.shape[1:]
    # A residual stage ends in a sum whose shape Keras may leave open.
    regions = keras.layers.Reshape((math.prod((height, width)), depth))(features)
    return ImageNetwork(images, regions, name="encoder")


def open_stage(encoder: keras.Model, stage: str) -> keras.Model | None:
    """Builds a network that also returns the maps of an earlier stage.

    It shares the encoder's weights.

    Args:
        encoder: from `build_encoder`.
        stage: a name such as `P3`, whose maps have 1 / 2**3 of the image's side.

    Returns:
        `keras.Model` from the encoder's images to the maps of the stage, `(batch, rows,
        columns, channels)`, and to the encoder's regions; None for an encoder whose
        stages have no names, such as a transformer.

    Raises:
        ValueError: if the stages have other names.
    """
    layers = {layer.name: layer for layer in encoder.layers}
    stages = getattr(layers.get("backbone"), "pyramid_outputs", {})
    if not stages:
        return None
    if stage not in stages:
        raise ValueError(
            f"style_stage must be one of {', '.join(stages)}. Received: {stage}"
        )
    backbone, x = layers["backbone"], encoder.input
    # A chain: what scales the pixels, the backbone, what makes regions of maps.
    chain = encoder.layers[1:]
    place = chain.index(backbone)
    for layer in chain[:place]:
        x = layer(x)
    opened = keras.Model(backbone.input, [stages[stage], backbone.output])
    maps, regions = opened(x, training=False)
    for layer in chain[place + 1 :]:
        regions = layer(regions)
    return keras.Model(encoder.input, [maps, regions], name="stages")


def _resnet50(images, trainable):
    x = keras.layers.Rescaling(1 / 255)(images)
    # Not `build_scaling`: saved models hold these two layers, and its numbers
    # differ from theirs in the last bit.
    x = keras.layers.Normalization(
        mean=IMAGENET.mean,
        variance=[std**2 for std in IMAGENET.std],
        name="imagenet_scale",
    )(x)
    architecture = ARCHITECTURES["resnet50"]
    backbone = architecture.network_class(**architecture.arguments, name="backbone")
    backbone.trainable = trainable
    return backbone(x, training=False)


def stack_convolutions(x, filters, dtype=None):
    """Applies convolutions for small data: patches of 4 x 4 pixels, then strides of 2.

    Args:
        x: symbolic tensor `(batch, height, width, channels)`, scaled.
        filters: ints > 0, channels of each convolution.
        dtype: dtype policy of the layers; None takes the global one.

    Returns:
        Symbolic tensor of feature maps, `(batch, rows, columns, filters[-1])`.

    Raises:
        ValueError: if there are no filters, or one is not positive.
    """
    if not filters or min(filters) < 1:
        raise ValueError(
            "`conv_filters` must be positive numbers, one per convolution. "
            f"Received: conv_filters={filters}"
        )
    for index, channels in enumerate(filters):
        # Patches first: on a CPU, layers at half the image's size cost most.
        size, strides = (3, 2) if index else (4, 4)
        x = keras.layers.Conv2D(
            channels, size, strides=strides, padding="same", dtype=dtype
        )(x)
        # Not batch normalisation: a batch holds prompts of one length, and so
        # images that are more alike than those of the moving average.
        groups = math.gcd(channels, 8)
        x = GroupNormalization(groups, dtype=dtype)(x)
        x = keras.layers.Activation("relu", dtype=dtype)(x)
    return x
