"""The cache of regions: whole files, kept where they can be, read at their place."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import copy_shards
from tf_prompt.data import caption_batches, region_cache, targets

SHAPE = (2, 3)
CACHE = {"signature": {"encoder": "a"}, "image_size": 32, "shape": SHAPE}


class Extract:
    """Regions that tell image and seed; it can stop in the middle, as if killed."""

    def __init__(self, stop_at=None):
        self.num_images, self.stop_at, self.seeds = 0, stop_at, []

    def __call__(self, images, seeds):
        if self.stop_at is not None and self.num_images >= self.stop_at:
            raise KeyboardInterrupt
        self.num_images += len(images)
        self.seeds.append(seeds)
        mean = np.mean(images, axis=(1, 2))
        return np.stack([mean, np.full_like(mean, seeds[0] % 1000)], axis=1)


@pytest.fixture
def shards(tiny_shards, tmp_path):
    return copy_shards(tiny_shards, tmp_path / "shards", "train-0000[01].tfrecord")


def test_regions_are_those_of_the_image(shards, capsys):
    extract = Extract()
    cache = region_cache.cached_features(shards, "train", extract, num_views=3, **CACHE)
    assert "72 views of images need 8.64e-07 GB" in capsys.readouterr().err
    assert len({seed for seed, _ in extract.seeds}) == 6
    read = cache.read(7)
    images = caption_batches.evaluation_batches(
        shards, "train", image_size=32, batch_size=24
    )
    pictures = next(iter(images))["image"].numpy()
    for record in (0, 5, 11):
        for shard in (0, 1):
            found = read(
                {"image": 0, "words": 1}, tf.constant([shard, record], tf.int64)
            )
            assert set(found) == {"words", "regions"}
            mean = pictures[12 * shard + record].mean(axis=(0, 1))
            np.testing.assert_allclose(found["regions"][0], mean, rtol=1e-3, atol=0.1)


def test_views_are_drawn_anew_each_epoch_and_again_the_same(shards):
    cache = region_cache.cached_features(
        shards, "train", Extract(), num_views=4, **CACHE
    )

    def views_of(epoch):
        read = cache.read(epoch)
        places = [[s, r] for s in (0, 1) for r in range(12)]
        drawn = tf.data.Dataset.from_tensor_slices(tf.constant(places, tf.int64))
        drawn = drawn.map(lambda place: read({}, place)["regions"])
        return [float(regions[1, 0]) for regions in drawn]

    views = views_of(0)
    assert views == views_of(0)
    assert views != views_of(1)
    assert len(set(views)) > 4


def test_killed_run_redoes_one_file(shards):
    with pytest.raises(KeyboardInterrupt):
        region_cache.cached_features(shards, "train", Extract(12), **CACHE)
    assert not list(shards.rglob("*.part"))
    extract = Extract()
    region_cache.cached_features(shards, "train", extract, **CACHE)
    assert extract.num_images == 12
    region_cache.cached_features(shards, "train", Extract(0), **CACHE)


def test_what_can_be_kept_is_kept(shards):
    region_cache.cached_features(shards, "train", Extract(), num_views=1, **CACHE)
    more = Extract()
    region_cache.cached_features(shards, "train", more, num_views=2, **CACHE)
    assert more.num_images == 24
    other = Extract()
    changed = {**CACHE, "signature": {"encoder": "b"}}
    region_cache.cached_features(shards, "train", other, **changed)
    assert other.num_images == 24
    first, second = sorted(shards.glob("*.tfrecord"))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    again = Extract()
    region_cache.cached_features(shards, "train", again, **CACHE)
    assert again.num_images == 24


def test_regions_that_float16_cannot_hold(shards):
    def extract(images, seeds):
        return np.full((len(images), *SHAPE), 1e5, np.float32)

    with pytest.raises(ValueError, match="must stay below 65504. Received: train-"):
        region_cache.cached_features(shards, "train", extract, **CACHE)


@pytest.mark.parametrize("content", ["[]", "{}", '{"shards": [1]}', "3"])
def test_a_damaged_index_is_named(tmp_path, content):
    (tmp_path / region_cache.INDEX).write_text(content)
    for read in (region_cache._read_index, targets._read_index):
        (tmp_path / targets.INDEX).write_text(content)
        with pytest.raises(ValueError, match="an object shards. Received: .*json"):
            read(tmp_path)
