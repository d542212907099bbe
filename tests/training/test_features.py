"""Training from cached regions against training that computes them."""

import dataclasses

import numpy as np
import pytest

from tests.training.test_loop import (
    KillAtEpoch,
    Killed,
    config_for,
    train,
    weights_of,
)
from tf_prompt.models import captioner, encoders


@pytest.fixture
def frozen(monkeypatch):
    """The small encoder, frozen: ResNet50 would take all the test's time."""

    def build(*arguments):
        encoder = encoders.build_encoder(*arguments)
        encoder.trainable = False
        return encoder

    monkeypatch.setattr(captioner, "build_encoder", build)


@pytest.mark.slow
def test_cached_regions_train_like_images(frozen, shards, tmp_path):
    plain = train(config_for(shards, flip=False), tmp_path / "plain")
    config = config_for(shards, flip=False, cache_features=True)
    cached = train(config, tmp_path / "cached")
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(
            [row[name] for row in cached], [row[name] for row in plain], rtol=2e-3
        )
    assert len(list(shards.rglob("*.float16"))) == 10
    assert [w.shape for w in weights_of(tmp_path / "cached")] == [
        w.shape for w in weights_of(tmp_path / "plain")
    ]


@pytest.mark.slow
@pytest.mark.long
def test_resumed_run_draws_the_same_views(frozen, shards, tmp_path):
    config = config_for(shards, cache_features=True, views=2, rotation_degrees=20)
    history = train(config, tmp_path / "whole")
    with pytest.raises(Killed):
        train(config, tmp_path / "part", callbacks=[KillAtEpoch(1)])
    resumed = train(config, tmp_path / "part")
    assert [row["val_loss"] for row in resumed] == [r["val_loss"] for r in history]
    ours, theirs = weights_of(tmp_path / "part"), weights_of(tmp_path / "whole")
    for part, whole in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(part, whole)


def test_an_encoder_that_learns_is_refused(shards, tmp_path):
    with pytest.raises(ValueError, match="cache_features needs a frozen encoder"):
        train(config_for(shards, cache_features=True), tmp_path / "run")


def test_views_go_with_the_cache(shards):
    with pytest.raises(ValueError, match="views needs --cache-features"):
        config_for(shards, views=2)


def test_other_models_have_no_regions(shards, tmp_path):
    config = config_for(shards, preset="vit_regressor_tiny", set=(), max_words=30)
    config = dataclasses.replace(config, cache_features=True)
    with pytest.raises(ValueError, match="cache_features must be left out with"):
        train(config, tmp_path / "run")
