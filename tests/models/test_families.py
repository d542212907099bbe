"""Regions of each family of backbones, beside transformers' or KerasHub's own."""

import functools
import json
import math

import numpy as np
import pytest

from tests import families
from tf_prompt.models import backbone_weights, backbones, presets, pretrained

OTHERS = [name for name in families.NAMES if name != "dinov2"]


@pytest.fixture(scope="module", autouse=True)
def _opened_once():
    """Opens each folder once with weights and once without; none is changed."""
    opened = functools.cache(pretrained.open_network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "open_network", opened)
        patch.setattr(backbone_weights, "open_network", opened)
        yield


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    made = {}

    def make(name):
        if name not in made:
            made[name] = families.make(name, tmp_path_factory.mktemp(name))
        return made[name]

    return make


def pictures(size):
    return np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype("f4")


def build(function, folder, size, **options):
    description = backbones.describe_backbone(folder, size)
    model = function(description, size, **options)
    backbone_weights.load_weights(model, folder)
    return description, model


@pytest.mark.parametrize("name", families.NAMES)
def test_regions_are_those_of_the_family(family, name):
    """Neither class nor register tokens are among them, and no patch is left out."""
    made = family(name)
    description, encoder = build(
        backbones.build_regions, made.path, made.size, trainable=False
    )
    images = pictures(made.size)
    scaled = (images / 255 - description["mean"]) / np.array(description["std"])
    expected = made.regions(scaled)
    assert math.isqrt(expected.shape[1]) ** 2 == expected.shape[1]
    np.testing.assert_allclose(encoder(images), expected, atol=1e-4)
    assert not encoder.trainable_weights


@pytest.mark.parametrize("options", [{}, {"trainable": True}])
def test_empty_batch_is_empty_features(options):
    """A replica's part of the last batch may be empty."""
    build = backbones.build_regions if options else backbones.build_backbone
    description = backbones.describe_backbone("vit_tiny", 24)
    description["arguments"]["num_layers"] = 1
    model = build(description, 24, **options)
    assert model(np.zeros((0, 24, 24, 3), "f4")).shape == (0, *model.output_shape[1:])


@pytest.mark.parametrize("name", ["vit", "dinov2", "siglip", "deit"])
def test_other_sizes_take_the_weights(family, name):
    made, size = family(name), 2 * family(name).size
    _, encoder = build(backbones.build_regions, made.path, size, trainable=True)
    regions = encoder(pictures(size))
    assert regions.shape[1] == 4 * (made.size // encoder_patch(made)) ** 2
    # Cached features have the shape that is known before.
    assert encoder.output_shape[1:] == regions.shape[1:]
    positions = [w for w in encoder.weights if "position_embedding" in w.path]
    assert positions and all(np.ptp(weight) > 0 for weight in positions)
    assert encoder.trainable_weights


def encoder_patch(made):
    patch = backbones.describe_backbone(made.path, made.size)["arguments"]["patch_size"]
    return patch if isinstance(patch, int) else patch[0]


@pytest.mark.parametrize("name", ["swin", "siglip", "deit", "dinov2_registers"])
def test_vector_of_an_image(family, name):
    made = family(name)
    description, backbone = build(backbones.build_backbone, made.path, made.size)
    images = pictures(made.size)
    network = backbone.get_layer("backbone")
    scaled = (images / 255 - description["mean"]) / np.array(description["std"])
    inputs = np.float32(scaled)
    if isinstance(network.input, dict):
        inputs = {next(iter(network.input)): inputs}
    tokens = np.asarray(network(inputs))
    # Swin has no class token, SigLIP's head makes one vector itself.
    expected = {"swin": tokens.mean(axis=1), "siglip": tokens}.get(name)
    if expected is None:
        expected = tokens[:, 0]
    np.testing.assert_allclose(backbone(images), expected, atol=1e-4)


def test_descriptions_of_before_give_the_first_token(family):
    made = family("vit")
    description, now = build(backbones.build_backbone, made.path, made.size)
    del description["prefix_tokens"]
    before = backbones.build_backbone(description, made.size)
    before.set_weights(now.get_weights())
    images = pictures(made.size)
    np.testing.assert_array_equal(before(images), now(images))


@pytest.mark.parametrize("rescale", [True, False])
def test_scale_is_that_of_the_folders_processor(family, rescale):
    made = family("swin")
    path = f"{made.path}/preprocessor_config.json"
    content = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    factor = 1 / 100 if rescale else 1
    content |= {"do_rescale": rescale, "rescale_factor": 1 / 100}
    with open(path, "w") as file:
        json.dump(content, file)
    description = backbones.describe_backbone(made.path, made.size)
    pixels = np.array([0.0, 100.0, 255.0])
    ours = (pixels / 255 - description["mean"]) / description["std"]
    theirs = (pixels * factor - content["image_mean"]) / content["image_std"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    "kind, class_name", [("vit", "ViTModel"), ("deit", "DeiTModel")]
)
def test_bare_folders_are_refused_in_one_line(tmp_path, kind, class_name):
    config = {"model_type": kind, "architectures": [class_name]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    message = f"model_type {kind} must hold a .*Classification.* with {class_name}$"
    with pytest.raises(ValueError, match=message):
        backbones.describe_backbone(str(tmp_path), 32)


@pytest.mark.parametrize(
    "class_name, arguments, size, rule",
    [
        ("DINOV2Backbone", {"patch_size": 14}, 225, "a multiple of its patches of 14"),
        ("ViTBackbone", {"patch_size": [16, 16]}, 230, "a multiple of its patches"),
        # Grids of 24, 12, 6 and 3 patches: windows of 7 do not fit into the last.
        (
            "SwinTransformerBackbone",
            {"patch_size": 4, "depths": [2, 2, 6, 2], "window_size": 7},
            96,
            "at least 224 pixels",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_named(class_name, arguments, size, rule):
    description = {"class_name": class_name, "arguments": arguments}
    message = f"must suit {class_name}: {rule}.* Received: image_size={size}"
    with pytest.raises(ValueError, match=message):
        backbones.build_regions(description, size, trainable=False)


@pytest.mark.parametrize(
    "name", ["dinov2", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)]
)
def test_trained_captioner_is_saved_whole(family, name, tmp_path):
    """KerasHub's DINOv2 would lose positions that it has learned."""
    from tf_prompt.runs import folder, model_file

    made = family(name)
    model = presets.build(
        "transformer_tiny",
        encoder=made.path,
        image_size=made.size,
        train_encoder=True,
        vocab_size=20,
        max_tokens=5,
        embedding_dim=16,
    )
    backbone_weights.load_weights(model.image_encoder, made.path)
    assert model.image_encoder.trainable_weights
    for weight in model.trainable_weights:
        weight.assign(weight - 0.01)
    folder.save_for_inference(model, tmp_path / "best.keras")
    loaded = model_file.load_model_file(tmp_path / "best.keras")
    inputs = {"images": pictures(made.size), "token_ids": np.array([[2, 5], [2, 6]])}
    np.testing.assert_allclose(loaded(inputs), model(inputs), atol=1e-6)
