"""Mean regions of a split from a frozen encoder, for tasks with a frozen encoder."""

import functools

import numpy as np
import tensorflow as tf

from tf_prompt.data.embedding_batches import Examples
from tf_prompt.data.graphs import compile_function
from tf_prompt.data.vectors import unit_rows
from tf_prompt.training.tasks.cached_regions import cached_regions

_IMAGES_AT_ONCE = 512


def mean_regions(task, model, split: str) -> np.ndarray:
    """Computes the mean region of each image of a split, without augmentation.

    With `cache_features` they come from the cache beside the shards.

    Args:
        task: a `Task`.
        model: a model with `image_encoder`, `encoder` and `image_size`.
        split: one of `split.SPLITS`.

    Returns:
        float16 `(images, depth)`, rows of unit length, in the order of the shards.
    """
    blocks = _cached if task.config.cache_features else _computed
    # float16 takes half the memory, and is precise enough to order neighbours.
    found = [unit_rows(rows).astype(np.float16) for rows in blocks(task, model, split)]
    return np.concatenate(found)


def regions_and_style(task, model, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean region and the style features of each image of a split.

    Args:
        task: a `Task`.
        model: a `FrozenEncoder`. Without style, the mean regions may come from the
            cache.
        split: one of `split.SPLITS`.

    Returns:
        features: as `mean_regions`.
        style: float32 `(images, style_dim)`.
    """
    if not model.style_dim:
        features = mean_regions(task, model, split)
        return features, np.zeros((len(features), 0), np.float32)
    found = list(_computed(task, model, split, model.extract_both))
    features, style = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return unit_rows(features).astype(np.float16), style


def _cached(task, model, split):
    features = cached_regions(task, model, split, augments=False)
    for (path,) in features.paths:
        regions = np.memmap(path, np.float16, "r").reshape(-1, *features.shape)
        for start in range(0, len(regions), _IMAGES_AT_ONCE):
            block = regions[start : start + _IMAGES_AT_ONCE]
            yield block.mean(axis=1, dtype=np.float32)


def _computed(task, model, split, extract=None):
    """Yields the results of `extract` for batches of images; None is mean regions."""
    size = model.image_size
    spec = tf.TensorSpec((None, size, size, 3), tf.uint8)
    extract = compile_function(extract or functools.partial(_average, model), [spec])
    examples = Examples(task.folder, split, with_targets=False)
    for batch in examples.pixels(
        [size], task.config.batch_size, f"features of {split}"
    ):
        yield tf.nest.map_structure(np.asarray, extract(batch[size]))


def _average(model, batch):
    regions = model.image_encoder(batch, training=False)
    return tf.reduce_mean(tf.cast(regions, tf.float32), axis=1)
