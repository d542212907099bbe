"""Batches of images and the embeddings of their prompts."""

import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt import images
from tf_prompt.data import records, targets

# Shards read in turn, as for captions.
_OPEN_SHARDS = 4


def training_batches(
    folder: str | pathlib.Path,
    target_paths: Sequence[str],
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    epochs: range,
    shuffle_buffer: int,
    prompt_ids: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Gives the batches of several epochs, one after the other.

    The order of an epoch depends on `seed` and the epoch's number alone. A last
    batch that is not full is dropped.

    Args:
        folder: shards of `pipelines.write_records`.
        target_paths: of `targets.target_shards` for the training split.
        image_size: pixels a side.
        batch_size: examples a batch, summed over replicas.
        seed: of the order.
        epochs: numbers of the epochs to give.
        shuffle_buffer: records that shuffling draws from.
        prompt_ids: of `number_prompts`; then an epoch has one image of each
            prompt, drawn anew each time.

    Returns:
        Dataset of `(images, embeddings)`: uint8 `(batch, size, size, 3)` and
        float32 `(batch, 384)`.
    """
    shards = _numbered_shards(folder, target_paths)

    def read_epoch(epoch):
        # As in `dataset.training_batches`: the order must not depend on the
        # program's own seed.
        tf.random.set_seed(1)
        order = seed * 1_000_003 + epoch
        numbered = shards.shuffle(len(shards), seed=order).interleave(
            _read_shard, cycle_length=_OPEN_SHARDS
        )
        if prompt_ids is not None:
            chosen = _choose_images(prompt_ids, order)
            numbered = numbered.filter(lambda index, pair: chosen[index])
        pairs = numbered.map(lambda index, pair: pair)
        pairs = pairs.shuffle(shuffle_buffer, seed=order)
        decoded = pairs.map(_decode(image_size), tf.data.AUTOTUNE)
        return decoded.batch(batch_size, drop_remainder=True)

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return numbers.flat_map(read_epoch).prefetch(tf.data.AUTOTUNE)


def split_batches(
    folder: str | pathlib.Path,
    split: str,
    target_paths: Sequence[str],
    *,
    image_size: int,
    batch_size: int,
) -> tf.data.Dataset:
    """Gives a split once, in order, in the form of `training_batches`."""
    pairs = tf.data.Dataset.zip(
        tf.data.TFRecordDataset(records.list_shards(folder, split)),
        tf.data.TFRecordDataset(list(target_paths)),
    )
    decoded = pairs.map(_decode(image_size), tf.data.AUTOTUNE)
    num_batches = -(-targets.count_targets(target_paths) // batch_size)
    # Keras warns at the end of a dataset whose length it does not know.
    length = tf.data.experimental.assert_cardinality(num_batches)
    return decoded.batch(batch_size).apply(length).prefetch(tf.data.AUTOTUNE)


def number_prompts(folder: str | pathlib.Path) -> np.ndarray:
    """Gives equal prompts of the training split equal numbers.

    Two prompts are equal if their normalised words are.

    Returns:
        int32 `(images,)`, in the order of the shards; numbers from 0 up.
    """
    # Digests, not texts: 2 million prompts take 32 MB.
    digests = [
        hashlib.blake2b(prompt.encode(), digest_size=8).digest()
        for shard in records.list_shards(folder, "train")
        for prompt in targets.read_prompts(shard, "words")
    ]
    keys = np.frombuffer(b"".join(digests), dtype=np.uint64)
    return np.unique(keys, return_inverse=True)[1].astype(np.int32)


def _numbered_shards(folder, target_paths) -> tf.data.Dataset:
    """Path of each shard and of its targets, and the number of its first image."""
    counts = [targets.count_targets([path]) for path in target_paths]
    starts = np.cumsum([0, *counts[:-1]], dtype=np.int64)
    shards = records.list_shards(folder, "train")
    return tf.data.Dataset.from_tensor_slices((shards, list(target_paths), starts))


def _read_shard(shard, target, start):
    pairs = tf.data.Dataset.zip(
        tf.data.TFRecordDataset(shard), tf.data.TFRecordDataset(target)
    )
    return pairs.enumerate(start)


def _choose_images(prompt_ids, seed):
    """True for one image of each prompt: that of the largest random number."""
    numbers = tf.random.stateless_uniform([len(prompt_ids)], [seed, 0])
    ids = tf.constant(prompt_ids)
    largest = tf.math.unsorted_segment_max(numbers, ids, int(prompt_ids.max()) + 1)
    return numbers >= tf.gather(largest, ids)


def _decode(image_size):
    def transform(serialised, target):
        example = records.parse(serialised)
        picture = images.decode_image(example["image"], image_size)
        return picture, targets.parse_target(target)

    return transform
