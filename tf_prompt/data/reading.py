"""Reads splits for all models: order, skipped steps, workers' shares."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.data.graphs import without_tuning
from tf_prompt.data.sharding import Share

# Shards read in turn; more only helps disks with high latency.
_OPEN_SHARDS = 4


@dataclasses.dataclass(frozen=True)
class ImageReader:
    """Reads the images, or stored features, of examples.

    Args:
        read: function from the stored form of one image to its tensor.
        spec: `tf.TensorSpec` of the result.
        key: key of the stored form in the inputs; None if it is all of the inputs.
    """

    read: Callable
    spec: tf.TensorSpec
    key: str | None = "images"

    def read_one(self, inputs, *rest):
        """Reads the image of an example, a tuple that starts with the inputs."""
        return self._replace(self.read, inputs), *rest

    def read_rows(self, inputs, *rest):
        """Reads the images of a batch, which may be empty."""

        def read(rows):
            return tf.map_fn(self.read, rows, fn_output_signature=self.spec)

        return self._replace(read, inputs), *rest

    def _replace(self, read, inputs):
        if self.key is None:
            return read(inputs)
        return {**inputs, self.key: read(inputs[self.key])}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How a split is turned into batches.

    The order of a training epoch depends only on `seed` and the epoch's number, so
    that a resumed run sees the same batches. Its last batch is dropped if it is not
    full, so that every epoch has `examples // batch_size` steps. Other splits are read
    once, in order, and completely.

    Args:
        folder: folder of shards.
        image_size: side of the images in pixels.
        batch_size: examples per batch, summed over replicas.
        share: the worker's share of each batch, or how batches are divided into
            rounds; None reads whole batches.
        seed: int, seed of the order; this and the following are for training only.
        shuffle_buffer: size of the shuffle buffer in records.
        epochs: numbers of the epochs to read.
        skip: number of steps of the first epoch to skip; their images are not decoded.
    """

    folder: str | pathlib.Path
    image_size: int
    batch_size: int
    share: Share | None = None
    seed: int = 0
    shuffle_buffer: int = 8192
    epochs: range = range(1)
    skip: int = 0

    def pixels(
        self, find: Callable = lambda stored: stored, key="images"
    ) -> ImageReader:
        """Reads images as uint8 `(image_size, image_size, 3)`.

        Args:
            find: function from the stored form to the encoded image.
            key: see `ImageReader`.
        """
        size = self.image_size
        return ImageReader(
            lambda stored: images.decode_stored(find(stored), size),
            tf.TensorSpec((size, size, 3), tf.uint8),
            key,
        )

    def pixels_or_regions(self, features, seed) -> ImageReader:
        """Reads images as `pixels` does, or the cached features at their places.

        Args:
            features: `region_cache.Features`; None reads images.
            seed: int or int tensor, see `Features.read`.
        """
        if features is None:
            return self.pixels()
        read = features.read(seed)
        spec = tf.TensorSpec(features.shape, tf.float16)
        return ImageReader(lambda place: read({}, place)["regions"], spec, "regions")

    def read_epochs(self, read_epoch: Callable) -> tf.data.Dataset:
        """Returns the batches of all epochs, one after the other.

        Args:
            read_epoch: function from an `Epoch` to its batches.
        """

        def read(number):
            # The seed of this function's graph only, so that the order does not depend
            # on the program's seed. With 0, shuffle would not accept a tensor as seed.
            tf.random.set_seed(1)
            return read_epoch(Epoch(self, number))

        numbers = tf.data.Dataset.range(self.epochs.start, self.epochs.stop)
        return without_tuning(numbers.flat_map(read).prefetch(tf.data.AUTOTUNE))

    def read_once(
        self,
        examples: tf.data.Dataset,
        num_examples: int,
        to_batches: Callable,
        reader: ImageReader,
    ) -> tf.data.Dataset:
        """Returns the batches of a split in order; the last one may not be full.

        Args:
            examples: the split's examples, tuples that start with the inputs.
            num_examples: number of examples.
            to_batches: function of examples, batch size and `drop_remainder`.
            reader: how to read the images in the inputs.
        """
        share, size = self.share, self.batch_size
        whole = functools.partial(to_batches, batch_size=size, drop_remainder=False)
        batches = _read_batches(examples, whole, reader, share and share.cut)
        if not share:
            # Keras warns at the end of a dataset of unknown length.
            length = tf.data.experimental.assert_cardinality(-(-num_examples // size))
            batches = batches.apply(length)
        return without_tuning(batches.prefetch(tf.data.AUTOTUNE))


class Epoch:
    """One epoch, or a worker's share of it.

    Args:
        reading: how the split is read.
        number: int64 tensor, number of the epoch.

    Attributes:
        order: int64 tensor, seed for everything random in the epoch.
        batch_size: number of examples that the worker draws per global batch.
    """

    def __init__(self, reading: Reading, number):
        self._reading, self._number = reading, number
        self._share = reading.share or Share()
        self.order = reading.seed * 1_000_003 + number
        self.batch_size = self._share.drawn_size(reading.batch_size)

    def interleave(self, files, read_file: Callable) -> tf.data.Dataset:
        """Reads files in random order, several in turn.

        Args:
            files: one row per file; a list, or a tuple of columns.
            read_file: function from a row to a dataset.
        """
        rows = tf.data.Dataset.from_tensor_slices(files)
        own = self._share.choose_files(rows)
        shuffled = own.shuffle(rows.cardinality(), seed=self.order)
        return shuffled.interleave(read_file, cycle_length=_OPEN_SHARDS)

    def shuffle(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Shuffles the result of `interleave`, repeated if a worker needs more."""
        shuffled = examples.shuffle(self._reading.shuffle_buffer, seed=self.order)
        return self._share.fill_epoch(shuffled)

    def skip_batches(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Skips the examples of skipped batches."""
        batches, _ = self._share.skip_rounds(self._reading.skip)
        return self._skip_first(examples, batches * self.batch_size)

    def read(
        self, examples: tf.data.Dataset, to_batches: Callable, reader: ImageReader
    ) -> tf.data.Dataset:
        """Batches the result of `skip_batches`.

        Args:
            examples, to_batches, reader: see `Reading.read_once`.

        Returns:
            Dataset of the worker's batches.
        """
        share, size = self._share, self.batch_size
        _, parts_done = share.skip_rounds(self._reading.skip)

        def cut(batches):
            return share.end_epoch(self._skip_first(share.cut(batches), parts_done))

        full = functools.partial(to_batches, batch_size=size, drop_remainder=True)
        return _read_batches(examples, full, reader, self._reading.share and cut)

    def _skip_first(self, elements, count):
        """Skips elements in the first epoch only."""
        is_first = tf.equal(self._number, self._reading.epochs.start)
        return elements.skip(tf.where(is_first, tf.constant(count, tf.int64), 0))


def _read_batches(examples, to_batches, reader, cut):
    """Reads images and makes batches; with `cut`, cuts the batches first.

    Otherwise each worker would decode the images of all workers.
    """
    if cut is None:
        return to_batches(examples.map(reader.read_one, tf.data.AUTOTUNE))
    return cut(to_batches(examples)).map(reader.read_rows, tf.data.AUTOTUNE)


def read_places(shard_index, shard):
    """Reads a shard's records together with their places.

    Args:
        shard_index: int64 tensor, index of the shard in its split.
        shard: string tensor, path of the shard.

    Returns:
        Dataset of serialised record and place, int64 `(2,)`: shard and record.
    """
    numbered = tf.data.TFRecordDataset(shard).enumerate()
    return numbered.map(lambda index, record: (record, tf.stack([shard_index, index])))
