"""Batches for captioners; the order of training depends only on seed and epoch."""

import numpy as np
import tensorflow as tf

from tf_prompt.data import records, transforms
from tf_prompt.data.folder import count_examples
from tf_prompt.data.graphs import as_written, without_tuning
from tf_prompt.data.reading import Reading, read_places
from tf_prompt.data.region_cache import Features
from tf_prompt.data.text import END_ID, PAD_ID
from tf_prompt.data.vocabulary import Vocabulary

# Number of batches that are sorted by length together.
_WINDOW = 16


@as_written
def training_batches(
    reading: Reading,
    vocabulary: Vocabulary,
    max_tokens: int,
    features: Features | None = None,
    with_families: bool = False,
) -> tf.data.Dataset:
    """Returns the batches of several epochs, one after the other.

    Args:
        reading: how the training split is read.
        vocabulary: the vocabulary, which encodes prompts.
        max_tokens: int > 0, largest number of tokens; longer prompts are cut.
        features: cached features of the split, read instead of images; None reads
            images.
        with_families: whether inputs hold `families`, see `records.number_family`.

    Returns:
        Dataset of `(inputs, targets, weights)`: `images`, uint8 `(batch, size, size,
        3)`, or `regions`, float16 `(batch, regions, depth)`; `token_ids`, and targets
        as `target_ids` too, int32 `(batch, tokens)`, padded with `PAD_ID` to the
        longest prompt of the batch; weights of the targets, see
        `transforms.weigh_words`; if wanted, `families`, int32 `(batch,)`.
    """
    shards = records.list_shards(reading.folder, "train")
    files = np.arange(len(shards)), shards

    def read_epoch(epoch):
        placed = epoch.shuffle(epoch.interleave(files, read_places))
        windows = _number(placed, vocabulary, _WINDOW * epoch.batch_size)
        sort = _by_length(epoch.batch_size, epoch.order)
        numbered = epoch.skip_batches(windows.map(sort).unbatch())
        tasks = _tasks(numbered, max_tokens, features, with_families)
        return epoch.read(tasks, _pad, reading.pixels_or_regions(features, epoch.order))

    return reading.read_epochs(read_epoch)


@as_written
def validation_batches(
    reading: Reading,
    vocabulary: Vocabulary,
    max_tokens: int,
    features: Features | None = None,
) -> tf.data.Dataset:
    """Returns the validation split once, in order; batches as in `training_batches`."""
    num_examples = count_examples(reading.folder, "validation")
    shards = records.list_shards(reading.folder, "validation")
    placed = tf.data.Dataset.from_tensor_slices(shards).enumerate()
    placed = placed.flat_map(read_places)
    numbered = _number(placed, vocabulary, _WINDOW * reading.batch_size).unbatch()
    tasks = _tasks(numbered, max_tokens, features)
    reader = reading.pixels_or_regions(features, 0)
    return reading.read_once(tasks, num_examples, _pad, reader)


def read_index(
    folder, vocabulary: Vocabulary, max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the prompts of the training split for a model that looks them up.

    Args:
        folder: folder of shards.
        vocabulary: the vocabulary, which encodes prompts.
        max_tokens: int > 0, largest number of tokens; longer prompts are cut.

    Returns:
        token_ids: int32 `(images, max_tokens + 1)`, each with its end token, padded
            with `PAD_ID`.
        families: int32 `(images,)`, see `records.number_family`.
    """
    read, ids = vocabulary.reader(), []
    shards = records.list_shards(folder, "train")
    for window in without_tuning(tf.data.TFRecordDataset(shards).batch(1024)):
        cut = read(window)[:, :max_tokens]
        whole = tf.concat([cut, tf.fill((cut.nrows(), 1), END_ID)], axis=1)
        ids.append(whole.to_tensor(PAD_ID, shape=(None, max_tokens + 1)).numpy())
    families = records.number_families(folder, "train")
    return np.concatenate(ids), np.array(families, np.int32)


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
    """Returns a split in order, with its prompts as text.

    Args:
        folder: folder of shards.
        split: one of `split.SPLITS`.
        image_size: side of the images in pixels.
        batch_size: examples per batch.
        limit: largest number of examples; None returns all.
        skip: number of examples to skip at the start.

    Returns:
        Dataset of dicts: `image`, uint8 `(batch, size, size, 3)`; `image_id` and
        `reference`, strings `(batch,)`.
    """
    serialised = tf.data.TFRecordDataset(records.list_shards(folder, split))
    wanted = serialised.take(-1 if limit is None else limit).skip(skip)
    examples = wanted.map(records.parse)
    examples = examples.map(transforms.join_reference)
    decoded = examples.map(transforms.decode_pixels(image_size), tf.data.AUTOTUNE)
    return without_tuning(decoded.batch(batch_size).prefetch(tf.data.AUTOTUNE))


def _number(placed, vocabulary, window_size):
    """Encodes prompts, a window at a time: windows of records, places and ids."""
    read = vocabulary.reader()
    windows = placed.batch(window_size)
    return windows.map(lambda window, places: (window, places, read(window)))


def _by_length(batch_size, seed):
    """Batches prompts of similar length; the batches stay in random order.

    Windows of several batches are sorted by length. A batch is padded to its longest
    prompt, and of 64 shuffled prompts one is nearly always long: on the toy set this
    reduces the mean length of a batch from 26 tokens to 16.
    """

    def sort(window, places, token_ids):
        ranked = tf.argsort(token_ids.row_lengths())
        whole = tf.size(ranked) // batch_size * batch_size
        batches = tf.reshape(ranked[:whole], (-1, batch_size))
        # The rest that does not fill a batch goes last and is dropped.
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


def _tasks(numbered, max_tokens, features, with_families=False):
    """Splits examples into inputs and targets; with `features` images become places."""

    def pose(record, place, token_ids):
        example = {"token_ids": token_ids[:max_tokens]}
        if features is None:
            example["image"] = records.parse(record)["image"]
        else:
            example["regions"] = place
        inputs, targets = transforms.pose_task(example)
        if with_families:
            inputs["families"] = records.number_family(record)
        return inputs, targets

    return numbered.map(pose)


def _pad(tasks, batch_size, drop_remainder):
    # With zeros: `PAD_ID` is 0.
    batches = tasks.padded_batch(batch_size, drop_remainder=drop_remainder)
    return batches.map(transforms.weigh_words)
