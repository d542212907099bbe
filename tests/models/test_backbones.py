import keras
import keras_hub
import numpy as np
import pytest

from tf_prompt.models import backbone_weights, backbones

SIZE = 32
VIT = {
    "patch_size": 8,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "mlp_dim": 16,
}


def save_preset(network, folder, converter=None):
    network.save_to_preset(str(folder))
    if converter is not None:
        converter.save_to_preset(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def vit_preset(tmp_path_factory):
    network = keras_hub.models.ViTBackbone(image_shape=(SIZE, SIZE, 3), **VIT)
    converter = keras_hub.layers.ViTImageConverter(
        image_size=(SIZE, SIZE), scale=[1 / 100, 1 / 50, 1 / 25], offset=[-1, 0, 0.5]
    )
    return save_preset(network, tmp_path_factory.mktemp("vit"), converter)


def pictures(size=SIZE):
    return np.random.default_rng(0).uniform(0, 255, (2, size, size, 3))


def build(name, size=SIZE):
    return backbones.build_backbone(backbones.describe_backbone(name, size), size)


def test_preset_scales_pixels_as_its_own_converter_says(vit_preset):
    ours = build(vit_preset)
    backbone_weights.load_weights(ours, vit_preset)
    network = keras_hub.models.Backbone.from_preset(vit_preset)
    scaled = pictures() * [1 / 100, 1 / 50, 1 / 25] + [-1, 0, 0.5]
    # The class token comes first.
    np.testing.assert_allclose(ours(pictures()), network(scaled)[:, 0], atol=1e-5)


def test_clip_gives_its_vision_tower(tmp_path):
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    clip = keras_hub.models.CLIPBackbone(
        keras_hub.models.CLIPVisionEncoder(
            patch_size=8, image_shape=(SIZE, SIZE, 3), name="vision", **sizes
        ),
        keras_hub.models.CLIPTextEncoder(
            vocabulary_size=20, embedding_dim=8, name="text", **sizes
        ),
        projection_dim=8,
    )
    # As in a pretrained one: each of the 16 patches and the class has its position.
    (ids,) = [w for w in clip.vision_encoder.weights if "position_ids" in w.path]
    ids.assign(np.arange(17)[None])
    preset = save_preset(clip, tmp_path / "clip")
    ours = build(preset)
    backbone_weights.load_weights(ours, preset)
    # Radford et al.: the statistics that CLIP's pixels are scaled by.
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    tokens = clip.vision_encoder({"images": (pictures() / 255 - mean) / std})
    np.testing.assert_allclose(ours(pictures()), tokens[:, 0], atol=1e-5)


def test_feature_maps_are_averaged():
    ours = build("resnet_tiny")
    network = ours.get_layer("backbone")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    maps = network((pictures() / 255 - mean) / std)
    np.testing.assert_allclose(
        ours(pictures()), np.mean(maps, axis=(1, 2)), rtol=1e-4, atol=1e-5
    )


def test_higher_resolution_keeps_all_but_the_positions(vit_preset):
    ours = build(vit_preset, 2 * SIZE)
    backbone_weights.load_weights(ours, vit_preset)
    small = keras_hub.models.Backbone.from_preset(vit_preset)
    for variable, before in zip(ours.weights, small.weights, strict=True):
        if "position_embedding" not in variable.path:
            np.testing.assert_array_equal(variable, before)
        else:
            assert variable.shape == (65, 8)
            np.testing.assert_array_equal(variable[0], before[0])


def test_positions_are_interpolated_along_the_grid():
    # A ramp from left to right, the same in each of the four rows.
    ramp = np.tile(np.arange(4.0), 4)
    table = np.concatenate([[100.0], ramp])[:, None].astype(np.float32)
    stretched = np.asarray(backbone_weights.interpolate_positions(table, 65))[:, 0]
    assert stretched[0] == 100
    grid = stretched[1:].reshape(8, 8)
    np.testing.assert_allclose(grid, np.tile(grid[:1], (8, 1)), atol=1e-5)
    # In the middle, out of reach of the borders, a cubic follows a straight line:
    # half a step a patch.
    np.testing.assert_allclose(np.diff(grid[0])[3], 0.5, atol=1e-4)
    assert (np.diff(grid[0]) >= -0.05).all()


def test_positions_of_the_same_grid_stay():
    table = np.random.default_rng(0).normal(size=(17, 3)).astype(np.float32)
    np.testing.assert_allclose(
        backbone_weights.interpolate_positions(table, 17), table, atol=1e-6
    )


def test_weights_file(tmp_path):
    one, two = build("vit_tiny", 96), build("vit_tiny", 96)
    path = str(tmp_path / "vit.weights.h5")
    one.get_layer("backbone").save_weights(path)
    assert not np.allclose(one(pictures(96)), two(pictures(96)))
    backbone_weights.load_weights(two, path)
    np.testing.assert_allclose(one(pictures(96)), two(pictures(96)), atol=1e-6)


@pytest.mark.parametrize(
    "name, size, message",
    [
        ("no_such_preset", 32, "backbone must be one of .* Received: no_such_preset"),
        (
            "vit_tiny",
            31,
            "`image_size` must suit ViT.*: a .* of 12 pixels. Received",
        ),
        ("vit_tiny", 0, "`image_size` must be positive. Received: image_size=0"),
    ],
)
def test_what_cannot_be_built(name, size, message, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=message):
        build(name, size)


def test_weights_of_another_network_are_refused(vit_preset):
    other = build("vit_tiny", 96)
    with pytest.raises(ValueError, match="backbone_weights must be those of ViT"):
        backbone_weights.load_weights(other, vit_preset)


def test_network_of_texts_is_refused(tmp_path):
    bert = keras_hub.models.BertBackbone(
        vocabulary_size=10,
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
    )
    with pytest.raises(ValueError, match="backbone must be an image network"):
        build(save_preset(bert, tmp_path / "bert"))


def test_tokens_that_nobody_knows_are_refused(monkeypatch):
    """Which of them are patches, only the class says."""

    class Tokens:
        output = np.zeros((1, 5, 8))

    monkeypatch.setattr(backbones, "open_network", lambda *_, **__: Tokens())
    with pytest.raises(ValueError, match="DINOv3 or Swin. Received: Tokens"):
        build("some_preset")


def test_every_preset_of_an_architecture_is_known_to_kerashub():
    for name, architecture in backbones.ARCHITECTURES.items():
        if architecture.weights is not None and "lite" not in name:
            assert architecture.weights in architecture.network_class.presets


def test_description_is_json_and_holds_no_name():
    description = backbones.describe_backbone("vit_tiny", 96)
    assert description["arguments"]["image_shape"] == [96, 96, 3]
    assert isinstance(build("vit_tiny", 96).get_layer("backbone"), keras.Model)
