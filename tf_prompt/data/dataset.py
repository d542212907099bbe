"""From shards to batches: the order of training is a function of seed and epoch."""

import collections
import pathlib

import tensorflow as tf
import tqdm

from tf_prompt.data import records, toy, transforms
from tf_prompt.data.features import Features
from tf_prompt.text import PAD_ID

# Shards read in turn; more only helps disks that answer late.
_OPEN_SHARDS = 4
# Batches that are sorted by length together.
_WINDOW = 16


def find_data(data: str) -> pathlib.Path:
    """Gives the folder of shards that `--data` names; writes the toy set if absent.

    Raises:
        FileNotFoundError: if the folder holds no training shard.
    """
    folder = toy.toy_folder() if data == "toy" else pathlib.Path(data)
    records.list_shards(folder, "train")
    return folder


def count_words(folder: str | pathlib.Path) -> tuple[collections.Counter, int]:
    """Counts the words of the training split.

    Returns:
        Uses of each word, and the number of examples.

    Raises:
        FileNotFoundError: if the folder holds no training shard.
    """
    shards = records.list_shards(folder, "train")
    feature = {"words": tf.io.RaggedFeature(tf.string)}
    counts: collections.Counter = collections.Counter()
    num_examples = 0
    for shard in tqdm.tqdm(shards, desc="counting words", unit="shard", leave=False):
        for batch in tf.data.TFRecordDataset(shard).batch(256):
            words = tf.io.parse_example(batch, feature)["words"]
            counts.update(words.flat_values.numpy().tolist())
            num_examples += int(words.nrows())
    return collections.Counter({w.decode(): n for w, n in counts.items()}), num_examples


def count_examples(folder: str | pathlib.Path, split: str) -> int:
    """Counts the examples of a split by the records' headers alone.

    Args:
        folder: shards of `pipelines.write_records`.
        split: one of `split.SPLITS`.

    Raises:
        FileNotFoundError: if the folder holds no shard of the split.
    """
    shards = records.list_shards(folder, split)
    return sum(records.count_records(shard) for shard in shards)


def training_batches(
    folder,
    vocabulary,
    *,
    image_size: int,
    max_words: int,
    batch_size: int,
    seed: int,
    epochs: range,
    shuffle_buffer: int,
    features: Features | None = None,
) -> tf.data.Dataset:
    """Gives the batches of several epochs, one after the other.

    The order of an epoch depends on `seed` and the epoch's number alone, so that
    a resumed run sees what it would have seen. A last batch that is not full is
    dropped, hence every epoch has `examples // batch_size` steps.

    Args:
        folder: shards of `pipelines.write_records`.
        vocabulary: token of each id.
        image_size: pixels a side.
        max_words: words kept of a prompt.
        batch_size: examples a batch, summed over replicas.
        seed: of the order.
        epochs: numbers of the epochs to give.
        shuffle_buffer: records that shuffling draws from.
        features: of the training split, read in place of images.

    Returns:
        Dataset of `(inputs, targets, weights)`: `images`, uint8 `(batch, size,
        size, 3)`, or `regions`, float16 `(batch, regions, depth)`; `token_ids` and
        targets, int32 `(batch, tokens)`, padded with `PAD_ID` to the longest prompt
        of the batch; weights of the targets, see `transforms.weigh_words`.
    """
    shards = records.list_shards(folder, "train")

    def read_epoch(epoch):
        # The seed of this function's graph alone: the order must not depend on the
        # program's. With 0 there, shuffle cannot take a tensor as its own seed.
        tf.random.set_seed(1)
        order = seed * 1_000_003 + epoch
        names = tf.data.Dataset.from_tensor_slices(shards).enumerate()
        placed = names.shuffle(len(shards), seed=order).interleave(
            _read_places, cycle_length=_OPEN_SHARDS
        )
        placed = placed.shuffle(shuffle_buffer, seed=order)
        placed = _group_by_length(placed, batch_size, order)
        read = features.read(order) if features else _decode_image(image_size)
        tasks = _tasks(placed, vocabulary, max_words, read)
        return _pad(tasks, batch_size, drop_remainder=True)

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return numbers.flat_map(read_epoch).prefetch(tf.data.AUTOTUNE)


def validation_batches(
    folder,
    vocabulary,
    *,
    image_size: int,
    max_words: int,
    batch_size: int,
    features: Features | None = None,
) -> tf.data.Dataset:
    """Gives the validation split once, in the form of `training_batches`."""
    num_examples = count_examples(folder, "validation")
    names = tf.data.Dataset.from_tensor_slices(
        records.list_shards(folder, "validation")
    )
    placed = names.enumerate().flat_map(_read_places)
    read = features.read(0) if features else _decode_image(image_size)
    tasks = _tasks(placed, vocabulary, max_words, read)
    batches = _pad(tasks, batch_size, drop_remainder=False)
    # Keras warns at the end of a dataset whose length it does not know.
    length = tf.data.experimental.assert_cardinality(-(-num_examples // batch_size))
    return batches.apply(length).prefetch(tf.data.AUTOTUNE)


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


def _decode_image(image_size: int):
    """Gives the pictures of `_tasks`: `transforms.decode_pixels`, places left out."""
    decode = transforms.decode_pixels(image_size)
    return lambda example, place: decode(example)


def _read_places(shard_index, shard):
    """Gives each record of a shard with its place: shard and record, int64 `(2,)`."""
    numbered = tf.data.TFRecordDataset(shard).enumerate()
    return numbered.map(lambda index, record: (record, tf.stack([shard_index, index])))


def _group_by_length(placed, batch_size, seed):
    """Puts prompts of like length into the same batch; batches stay in random order.

    Sorts windows of several batches. A batch is padded to its longest prompt, and
    of 64 shuffled prompts one is nearly always long: on the toy set this takes the
    mean length of a batch from 26 tokens to 16.
    """

    def sort(window, places):
        words = tf.io.parse_example(window, {"words": tf.io.RaggedFeature(tf.string)})
        ranked = tf.argsort(words["words"].row_lengths())
        whole = tf.size(ranked) // batch_size * batch_size
        batches = tf.reshape(ranked[:whole], (-1, batch_size))
        # What fills no batch goes last: the next step drops it.
        order = tf.concat(
            [tf.reshape(_shuffle_rows(batches), [-1]), ranked[whole:]], axis=0
        )
        return tf.gather(window, order), tf.gather(places, order)

    def _shuffle_rows(batches):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(tf.shape(batches)[0]), seed=(seed, 0)
        )
        return tf.gather(batches, order)

    windows = placed.batch(_WINDOW * batch_size)
    return windows.map(sort).unbatch()


def _tasks(placed, vocabulary, max_words, read):
    look_up = transforms.look_up_words(vocabulary, max_words)
    examples = placed.map(lambda record, place: (look_up(records.parse(record)), place))
    return examples.map(read, tf.data.AUTOTUNE).map(transforms.pose_task)


def _pad(tasks, batch_size, drop_remainder):
    inputs, targets = tasks.element_spec
    pad = tf.constant(PAD_ID, tf.int32)
    batches = tasks.padded_batch(
        batch_size,
        padded_shapes=({k: v.shape for k, v in inputs.items()}, targets.shape),
        padding_values=({**dict.fromkeys(inputs), "token_ids": pad}, pad),
        drop_remainder=drop_remainder,
    )
    return batches.map(transforms.weigh_words)
