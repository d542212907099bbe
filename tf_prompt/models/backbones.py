"""Image backbones: from pixels to the one vector that a regressor reads."""

import json
import math

import keras
import keras_hub
from keras import ops

# ImageNet statistics, pixels 0-1, and CLIP's own.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_CENTRED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Name: class in KerasHub, its arguments, preset of its weights. A `tiny` one has
# none and learns from the start.
ARCHITECTURES = {
    "vit_base": (
        keras_hub.models.ViTBackbone,
        {
            "patch_size": 16,
            "num_layers": 12,
            "num_heads": 12,
            "hidden_dim": 768,
            "mlp_dim": 3072,
        },
        "vit_base_patch16_224_imagenet",
    ),
    "resnet50": (
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
    "vit_tiny": (
        keras_hub.models.ViTBackbone,
        {
            "patch_size": 12,
            "num_layers": 4,
            "num_heads": 4,
            "hidden_dim": 128,
            "mlp_dim": 256,
        },
        None,
    ),
    "resnet_tiny": (
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
NAMES = ("resnet50", "conv")
PRETRAINED = {"resnet50": "resnet_50_imagenet"}
# ImageNet statistics, pixels 0-1, that the preset was trained with.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


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
        mean, std = _scale_of(network_class)
    else:
        network = _vision_part(load_preset(name, load_weights=False))
        network_class, arguments = type(network), network.get_config()
        mean, std = _preset_scale(name, network_class)
    # The model that holds the backbone decides name and precision.
    kept = {k: v for k, v in arguments.items() if k not in ("name", "dtype")}
    description = {
        "class_name": network_class.__name__,
        "arguments": {**kept, "image_shape": (image_size, image_size, 3)},
        "mean": mean,
        "std": std,
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
    mean, std = description["mean"], description["std"]
    x = keras.layers.Rescaling(
        [1 / (255 * s) for s in std],
        [-m / s for m, s in zip(mean, std, strict=True)],
        name="scale",
    )(images)
    features = network({"images": x} if isinstance(network.input, dict) else x)
    if isinstance(features, dict):
        features = features["sequence_output"]
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    else:
        features = features[:, 0]
    return keras.Model(images, features, name="image_backbone")


def load_preset(name, load_weights=True):
    """Loads a KerasHub backbone from a preset's name or folder.

    Raises:
        ValueError: if there is none within reach; says what to do.
    """
    try:
        return keras_hub.models.Backbone.from_preset(
            str(name), load_weights=load_weights
        )
    # Hubs raise errors of several libraries, from requests' to h5py's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"backbone must be one of {', '.join(ARCHITECTURES)}, a KerasHub preset "
            f"within reach or a preset's folder. Received: {name} ({reason}). Without "
            "a network give a preset's folder or a .weights.h5 file with "
            "--backbone-weights, or train on random ones with --backbone-weights random"
        ) from error


def load_weights(image_backbone, source):
    """Fills a backbone with pretrained weights.

    Tables of positions that differ in length, as at another resolution, are
    interpolated.

    Args:
        image_backbone: of `build_backbone`.
        source: a KerasHub preset, a preset's folder, or a `.weights.h5` file of
            this very backbone.

    Raises:
        ValueError: if the weights cannot be had or do not fit.
    """
    network = image_backbone.get_layer("backbone")
    if str(source).endswith(".h5"):
        try:
            network.load_weights(source)
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ValueError(
                f"backbone_weights must fit the backbone. Received: {source} ({reason})"
            ) from error
        return
    pretrained = _vision_part(load_preset(source)).weights
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


def _build_network(description, image_size):
    if image_size < 1:
        raise ValueError(
            f"`image_size` must be positive. Received: image_size={image_size}"
        )
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


def _scale_of(network_class):
    if network_class is keras_hub.models.CLIPVisionEncoder:
        return _CLIP
    if network_class is keras_hub.models.ViTBackbone:
        return _CENTRED
    return _IMAGENET


def _preset_scale(name, network_class):
    """What the preset's own preprocessing does: pixels * scale + offset."""
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(str(name))
    # A preset may come without one; then its family's usual statistics hold.
    except (ValueError, OSError):
        return _scale_of(network_class)
    scale, offset = _per_channel(converter.scale, 1), _per_channel(converter.offset, 0)
    std = [1 / (255 * s) for s in scale]
    return [-o * s for o, s in zip(offset, std, strict=True)], std


def _per_channel(value, default):
    value = default if value is None else value
    return [float(v) for v in (value if hasattr(value, "__len__") else [value] * 3)]


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
