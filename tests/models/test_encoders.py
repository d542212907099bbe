"""Pretrained weights, from presets saved on this machine: none are downloaded."""

import keras_hub
import numpy as np
import pytest

from tf_prompt.models import backbone_weights, encoders


@pytest.fixture(scope="module")
def encoder():
    return encoders.build_encoder("resnet50", 64)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A backbone with weights of its own, as preset folder and as weights file."""
    folder = tmp_path_factory.mktemp("backbone")
    backbone = encoders.build_encoder("resnet50", 64).get_layer("backbone")
    rng = np.random.default_rng(7)
    backbone.set_weights([rng.uniform(0.5, 1, w.shape) for w in backbone.get_weights()])
    backbone.save_to_preset(folder / "preset")
    backbone.save_weights(folder / "backbone.weights.h5")
    return folder, backbone


@pytest.mark.parametrize("name", ["preset", "backbone.weights.h5"])
def test_backbone_takes_the_weights(encoder, source, name):
    folder, backbone = source
    backbone_weights.load_weights(encoder, str(folder / name))
    for ours, theirs in zip(
        encoder.get_layer("backbone").get_weights(), backbone.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_scaling_is_inside(encoder):
    assert isinstance(encoder.get_layer("backbone"), keras_hub.models.ResNetBackbone)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    mean = np.array([0.485, 0.456, 0.406])
    std = np.array([0.229, 0.224, 0.225])
    scaled = ((images / 255 - mean) / std).astype("float32")
    features = encoder.get_layer("backbone")(scaled, training=False)
    np.testing.assert_allclose(
        encoder(images), np.reshape(features, (1, 4, 2048)), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", ["absent", "absent.weights.h5"])
def test_absent_weights_say_what_to_do(encoder, tmp_path, name):
    with pytest.raises(ValueError, match="--backbone-weights random"):
        backbone_weights.load_weights(encoder, str(tmp_path / name))
