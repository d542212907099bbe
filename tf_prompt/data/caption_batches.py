"""From shards to batches: the order of training is a function of seed and epoch."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.data import epochs, images, records, sharding, transforms
from tf_prompt.data.folder import count_examples
from tf_prompt.data.region_cache import Features
from tf_prompt.data.text import PAD_ID

# Batches that are sorted by length together.
_WINDOW = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingEpochs:
    """Several epochs of the training split, one after the other.

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
        skip: steps of the first epoch left out; their images are not decoded.
        share: of a worker, or of a batch in several rounds; None gives all, whole.
    """

    folder: str | pathlib.Path
    vocabulary: Sequence[str]
    image_size: int
    max_words: int
    batch_size: int
    seed: int
    epochs: range
    shuffle_buffer: int
    features: Features | None = None
    skip: int = 0
    share: sharding.Share | None = None

    def batches(self) -> tf.data.Dataset:
        """Gives the batches.

        Returns:
            Dataset of `(inputs, targets, weights)`: `images`, uint8 `(batch, size,
            size, 3)`, or `regions`, float16 `(batch, regions, depth)`; `token_ids`,
            and targets as `target_ids` too, int32 `(batch, tokens)`, padded with
            `PAD_ID` to the longest prompt of the batch; weights of the targets, see
            `transforms.weigh_words`.
        """
        shards = records.list_shards(self.folder, "train")
        read_epoch = functools.partial(self._read_epoch, shards)
        return epochs.read_epochs(self.epochs, self.seed, read_epoch)

    def _read_epoch(self, shards, order, skip_first):
        share = self.share
        size = share.drawn_size(self.batch_size) if share else self.batch_size
        names = tf.data.Dataset.from_tensor_slices(shards).enumerate()
        names = share.choose_files(names) if share else names
        placed = names.shuffle(len(shards), seed=order).interleave(
            _read_places, cycle_length=epochs.OPEN_SHARDS
        )
        placed = placed.shuffle(self.shuffle_buffer, seed=order)
        placed = share.fill_epoch(placed) if share else placed
        placed = _group_by_length(placed, size, order)
        features, pixels = self.features, self.image_size
        if share:
            to_batches = functools.partial(self._to_batches, _defer(features), size)
            parts = epochs.cut_batches(
                placed, share, self.skip, size, skip_first, to_batches
            )
            return _read_own(parts, pixels, features, order)
        if self.skip:
            placed = skip_first(placed, self.skip * size)
        read = features.read(order) if features else _decode_image(pixels)
        return self._to_batches(read, size, placed)

    def _to_batches(self, read, size, placed):
        tasks = _tasks(placed, self.vocabulary, self.max_words, read)
        return _pad(tasks, size, drop_remainder=True)


def validation_batches(
    folder,
    vocabulary,
    *,
    image_size: int,
    max_words: int,
    batch_size: int,
    features: Features | None = None,
    share: sharding.Share | None = None,
) -> tf.data.Dataset:
    """Gives the validation split once, in the form of `TrainingEpochs`."""
    num_examples = count_examples(folder, "validation")
    names = tf.data.Dataset.from_tensor_slices(
        records.list_shards(folder, "validation")
    )
    placed = names.enumerate().flat_map(_read_places)
    if share:
        tasks = _tasks(placed, vocabulary, max_words, _defer(features))
        parts = share.cut(_pad(tasks, batch_size, drop_remainder=False))
        return _read_own(parts, image_size, features, 0).prefetch(tf.data.AUTOTUNE)
    read = features.read(0) if features else _decode_image(image_size)
    tasks = _tasks(placed, vocabulary, max_words, read)
    batches = _pad(tasks, batch_size, drop_remainder=False)
    return epochs.with_length(batches, num_examples, batch_size)


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


def _defer(features):
    """Leaves pictures encoded, or features at their place, until batches are cut."""
    if features:
        return lambda example, place: {**example, "regions": place}
    return lambda example, place: example


def _read_own(parts, image_size, features, seed):
    """Decodes the pictures, or reads the features, of a worker's parts."""
    if features:
        key, spec = "regions", tf.TensorSpec(features.shape, tf.float16)
        read_features = features.read(seed)
        read = sharding.decode_rows(lambda p: read_features({}, p)[key], spec)
    else:
        key, spec = "images", tf.TensorSpec((image_size, image_size, 3), tf.uint8)
        read = sharding.decode_rows(lambda x: images.decode_stored(x, image_size), spec)

    def decode(inputs, targets, weights):
        return {**inputs, key: read(inputs[key])}, targets, weights

    return parts.map(decode, tf.data.AUTOTUNE)


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
