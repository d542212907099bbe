"""Encoders: from images to the regions that a captioner looks at."""

import math

import keras
import keras_hub

NAMES = ("resnet50", "conv")
PRETRAINED = {"resnet50": "resnet_50_imagenet"}

# ImageNet statistics, pixels 0-1, that the preset was trained with.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


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
    if name not in NAMES:
        raise ValueError(f"`encoder` must be one of {NAMES}. Received: encoder={name}")
    if image_size < 1:
        raise ValueError(
            f"`image_size` must be positive. Received: image_size={image_size}"
        )
    images = keras.Input((image_size, image_size, 3), name="images")
    if name == "resnet50":
        features = _resnet50(images)
    else:
        features = _convolutions(images, conv_filters)
    height, width, depth = features.shape[1:]
    # A residual stage ends in a sum whose shape Keras may leave open.
    regions = keras.layers.Reshape((math.prod((height, width)), depth))(features)
    return keras.Model(images, regions, name="encoder")


def _resnet50(images):
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Normalization(
        mean=_MEAN, variance=[std**2 for std in _STD], name="imagenet_scale"
    )(x)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        name="backbone",
    )
    backbone.trainable = False
    return backbone(x, training=False)


def _convolutions(images, filters):
    if not filters or min(filters) < 1:
        raise ValueError(
            "`conv_filters` must be positive numbers, one a convolution. "
            f"Received: conv_filters={filters}"
        )
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    for index, channels in enumerate(filters):
        # Patches first: on a CPU, layers at half the image's size cost most.
        size, strides = (3, 2) if index else (4, 4)
        x = keras.layers.Conv2D(channels, size, strides=strides, padding="same")(x)
        # Not batch normalisation: a batch holds prompts of one length, and so
        # pictures that are more alike than those of the moving average.
        groups = math.gcd(channels, 8)
        x = keras.layers.GroupNormalization(groups)(x)
        x = keras.layers.Activation("relu")(x)
    return x


def load_backbone_weights(encoder, name, source=None):
    """Fills the pretrained part of an encoder.

    Args:
        encoder: what `build_encoder` returned.
        name: the encoder's name.
        source: None takes KerasHub's preset, from its cache or the network; else
            a preset's folder, or a weights file (`.weights.h5`) of the backbone.

    Raises:
        ValueError: if the weights cannot be had or do not fit; says what to do.
    """
    backbone = encoder.get_layer("backbone")
    source = source or PRETRAINED[name]
    try:
        if str(source).endswith(".h5"):
            backbone.load_weights(source)
        else:
            pretrained = keras_hub.models.Backbone.from_preset(source)
            backbone.set_weights(pretrained.get_weights())
    # Hubs raise errors of several libraries, from requests' to h5py's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"backbone_weights must be a KerasHub preset within reach, a preset's "
            f"folder or a .weights.h5 file. Received: {source} ({reason}). Without a "
            f"network, give a file with --backbone-weights FILE, or train on random "
            f"ones with --backbone-weights random"
        ) from error
