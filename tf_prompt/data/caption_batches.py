"""From shards to batches: the order of training is a function of seed and epoch."""

import numpy as np
import tensorflow as tf

from tf_prompt.data import records, transforms
from tf_prompt.data.folder import count_examples
from tf_prompt.data.graphs import as_written
from tf_prompt.data.reading import ImageReader, Reading
from tf_prompt.data.region_cache import Features
from tf_prompt.data.vocabulary import Vocabulary

# Batches that are sorted by length together.
_WINDOW = 16


@as_written
def training_batches(
    reading: Reading,
    vocabulary: Vocabulary,
    max_tokens: int,
    features: Features | None = None,
) -> tf.data.Dataset:
    """Gives the batches of several epochs, one after the other.

    Args:
        reading: of the training split.
        vocabulary: gives prompts their ids.
        max_tokens: int > 0, tokens kept of a prompt; a longer one loses its tail.
        features: of the split, read in place of images.

    Returns:
        Dataset of `(inputs, targets, weights)`: `images`, uint8 `(batch, size, size,
        3)`, or `regions`, float16 `(batch, regions, depth)`; `token_ids`, and targets
        as `target_ids` too, int32 `(batch, tokens)`, padded with `PAD_ID` to the
        longest prompt of the batch; weights of the targets, see
        `transforms.weigh_words`.
    """
    shards = records.list_shards(reading.folder, "train")
    files = np.arange(len(shards)), shards

    def read_epoch(epoch):
        placed = epoch.shuffle(epoch.interleave(files, _read_places))
        windows = _number(placed, vocabulary, _WINDOW * epoch.batch_size)
        sort = _by_length(epoch.batch_size, epoch.order)
        numbered = epoch.skip_batches(windows.map(sort).unbatch())
        tasks = _tasks(numbered, max_tokens, features)
        return epoch.read(tasks, _pad, _image_reader(reading, features, epoch.order))

    return reading.read_epochs(read_epoch)


@as_written
def validation_batches(
    reading: Reading,
    vocabulary: Vocabulary,
    max_tokens: int,
    features: Features | None = None,
) -> tf.data.Dataset:
    """Gives the validation split once, in the form of `training_batches`."""
    num_examples = count_examples(reading.folder, "validation")
    shards = records.list_shards(reading.folder, "validation")
    placed = tf.data.Dataset.from_tensor_slices(shards).enumerate()
    placed = placed.flat_map(_read_places)
    numbered = _number(placed, vocabulary, _WINDOW * reading.batch_size).unbatch()
    tasks = _tasks(numbered, max_tokens, features)
    reader = _image_reader(reading, features, 0)
    return reading.read_once(tasks, num_examples, _pad, reader)


@as_written
def evaluation_batches(
    folder,
    split: str,
    *,
    image_size: int,
    batch_size: int,
    limit: int | None = None,
    skip: int = 0,
) -> tf.data.Dataset:
    """Gives a split in order, with its prompts as text.

    Args:
        folder: shards of `pipelines.write_records`.
        split: one of `split.SPLITS`.
        image_size: pixels a side.
        batch_size: examples a batch.
        limit: examples at most; None gives all.
        skip: examples of these passed over, from the first.

    Returns:
        Dataset of dicts: `image`, uint8 `(batch, size, size, 3)`; `image_id` and
        `reference`, strings `(batch,)`.
    """
    serialised = tf.data.TFRecordDataset(records.list_shards(folder, split))
    wanted = serialised.take(-1 if limit is None else limit).skip(skip)
    examples = wanted.map(records.parse)
    examples = examples.map(transforms.join_reference)
    decoded = examples.map(transforms.decode_pixels(image_size), tf.data.AUTOTUNE)
    return decoded.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _image_reader(reading, features, seed) -> ImageReader:
    """The images of the tasks, or the features at their places."""
    if features is None:
        return reading.pixels()
    read = features.read(seed)
    spec = tf.TensorSpec(features.shape, tf.float16)
    return ImageReader(lambda place: read({}, place)["regions"], spec, "regions")


def _read_places(shard_index, shard):
    """Gives each record of a shard with its place: shard and record, int64 `(2,)`."""
    numbered = tf.data.TFRecordDataset(shard).enumerate()
    return numbered.map(lambda index, record: (record, tf.stack([shard_index, index])))


def _number(placed, vocabulary, window_size):
    """Gives prompts their ids, many at a time: records, places and ids by windows."""
    read = vocabulary.reader()
    windows = placed.batch(window_size)
    return windows.map(lambda window, places: (window, places, read(window)))


def _by_length(batch_size, seed):
    """Puts prompts of like length into the same batch; batches stay in random order.

    Sorts windows of several batches. A batch is padded to its longest prompt, and
    of 64 shuffled prompts one is nearly always long: on the toy set this takes the
    mean length of a batch from 26 tokens to 16.
    """

    def sort(window, places, token_ids):
        ranked = tf.argsort(token_ids.row_lengths())
        whole = tf.size(ranked) // batch_size * batch_size
        batches = tf.reshape(ranked[:whole], (-1, batch_size))
        # What fills no batch goes last: the next step drops it.
        order = tf.concat(
            [tf.reshape(_shuffle_rows(batches), [-1]), ranked[whole:]], axis=0
        )
        return tuple(tf.gather(x, order) for x in (window, places, token_ids))

    def _shuffle_rows(batches):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(tf.shape(batches)[0]), seed=(seed, 0)
        )
        return tf.gather(batches, order)

    return sort


def _tasks(numbered, max_tokens, features):
    """Gives inputs and targets; with `features` the place of an image instead of it."""

    def pose(record, place, token_ids):
        example = {"token_ids": token_ids[:max_tokens]}
        if features is None:
            example["image"] = records.parse(record)["image"]
        else:
            example["regions"] = place
        return transforms.pose_task(example)

    return numbered.map(pose)


def _pad(tasks, batch_size, drop_remainder):
    # With zeros: `PAD_ID` is 0.
    batches = tasks.padded_batch(batch_size, drop_remainder=drop_remainder)
    return batches.map(transforms.weigh_words)
