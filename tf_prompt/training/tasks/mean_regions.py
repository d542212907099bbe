"""Mean regions of a split from a frozen encoder, for tasks with an image index."""

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import folder as data_folder
from tf_prompt.data import images, records
from tf_prompt.data.graphs import compile_function, without_tuning
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


def _cached(task, model, split):
    features = cached_regions(task, model, split, augments=False)
    for (path,) in features.paths:
        regions = np.memmap(path, np.float16, "r").reshape(-1, *features.shape)
        for start in range(0, len(regions), _IMAGES_AT_ONCE):
            block = regions[start : start + _IMAGES_AT_ONCE]
            yield block.mean(axis=1, dtype=np.float32)


def _computed(task, model, split):
    size = model.image_size
    decoded = tf.data.TFRecordDataset(records.list_shards(task.folder, split)).map(
        lambda record: images.decode_stored(records.parse(record)["image"], size),
        tf.data.AUTOTUNE,
    )
    spec = tf.TensorSpec((None, size, size, 3), tf.uint8)
    extract = compile_function(
        lambda batch: tf.reduce_mean(
            tf.cast(model.image_encoder(batch, training=False), tf.float32), axis=1
        ),
        [spec],
    )
    with tqdm.tqdm(
        total=data_folder.count_examples(task.folder, split),
        desc=f"features of {split}",
        unit="image",
    ) as bar:
        batches = decoded.batch(task.config.batch_size).prefetch(1)
        for batch in without_tuning(batches):
            yield extract(batch).numpy()
            bar.update(len(batch))
