"""What reading has in common for all models: order, steps passed over, shares."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.data.sharding import Share

# Shards read in turn; more only helps disks that answer late.
_OPEN_SHARDS = 4


@dataclasses.dataclass(frozen=True)
class Pictures:
    """How pictures, or what stands for them, are read.

    Args:
        read: function of one as it is stored.
        spec: of what `read` gives.
        key: of the inputs that hold it; None where it is all of them.
    """

    read: Callable
    spec: tf.TensorSpec
    key: str | None = "images"

    def read_one(self, inputs, *rest):
        """Reads the picture of an example."""
        return self._replace(self.read, inputs), *rest

    def read_rows(self, inputs, *rest):
        """Reads the pictures of a batch, which may have no row."""

        def read(rows):
            return tf.map_fn(self.read, rows, fn_output_signature=self.spec)

        return self._replace(read, inputs), *rest

    def _replace(self, read, inputs):
        if self.key is None:
            return read(inputs)
        return {**inputs, self.key: read(inputs[self.key])}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How a split becomes batches.

    The order of a training epoch depends on `seed` and the epoch's number alone, so
    that a resumed run sees what it would have seen. A last batch that is not full is
    dropped there, hence every epoch has `examples // batch_size` steps. Other splits
    are read once, in order, and whole.

    Args:
        folder: shards of `pipelines.write_records`.
        image_size: pixels a side.
        batch_size: examples a batch, summed over replicas.
        share: of a worker, or of a batch in several rounds; None gives all, whole.
        seed: of the order of training, as are all that follow.
        shuffle_buffer: records that shuffling draws from.
        epochs: numbers of the epochs to give.
        skip: steps of the first epoch left out; their images are not decoded.
    """

    folder: str | pathlib.Path
    image_size: int
    batch_size: int
    share: Share | None = None
    seed: int = 0
    shuffle_buffer: int = 8192
    epochs: range = range(1)
    skip: int = 0

    def pixels(self, find: Callable = lambda stored: stored, key="images") -> Pictures:
        """Reads images as uint8 `(image_size, image_size, 3)`.

        Args:
            find: function that gives the encoded image of what is stored.
            key: see `Pictures`.
        """
        size = self.image_size
        return Pictures(
            lambda stored: images.decode_stored(find(stored), size),
            tf.TensorSpec((size, size, 3), tf.uint8),
            key,
        )

    def read_epochs(self, read_epoch: Callable) -> tf.data.Dataset:
        """Gives the batches of the epochs, one after the other.

        Args:
            read_epoch: function from an `Epoch` to its batches.
        """

        def read(number):
            # The seed of this function's graph alone: the order must not depend on the
            # program's. With 0 there, shuffle cannot take a tensor as its own seed.
            tf.random.set_seed(1)
            return read_epoch(Epoch(self, number))

        numbers = tf.data.Dataset.range(self.epochs.start, self.epochs.stop)
        return numbers.flat_map(read).prefetch(tf.data.AUTOTUNE)

    def read_once(
        self,
        examples: tf.data.Dataset,
        num_examples: int,
        to_batches: Callable,
        pictures: Pictures,
    ) -> tf.data.Dataset:
        """Gives the batches of a split in order, the last one as full as it is.

        Args:
            examples: of the split; tuples that begin with the inputs.
            num_examples: how many these are.
            to_batches: function of examples, batch size and `drop_remainder`.
            pictures: of the inputs, which hold them as they are stored.
        """
        share, size = self.share, self.batch_size
        whole = functools.partial(to_batches, batch_size=size, drop_remainder=False)
        batches = _read_batches(examples, whole, pictures, share and share.cut)
        if not share:
            # Keras warns at the end of a dataset whose length it does not know.
            length = tf.data.experimental.assert_cardinality(-(-num_examples // size))
            batches = batches.apply(length)
        return batches.prefetch(tf.data.AUTOTUNE)


class Epoch:
    """One epoch of a reading, as far as a worker has a share in it.

    Args:
        reading: that the epoch is of.
        number: int64 tensor.

    Attributes:
        order: int64 tensor, to seed what is drawn in the epoch.
        batch_size: examples that the worker draws for a batch of all.
    """

    def __init__(self, reading: Reading, number):
        self._reading, self._number = reading, number
        self._share = reading.share or Share()
        self.order = reading.seed * 1_000_003 + number
        self.batch_size = self._share.drawn_size(reading.batch_size)

    def interleave(self, files, read_file: Callable) -> tf.data.Dataset:
        """Reads files, of which the order is random, several in turn.

        Args:
            files: a row a file; a list, or a tuple of columns.
            read_file: function from a row to a dataset.
        """
        rows = tf.data.Dataset.from_tensor_slices(files)
        own = self._share.choose_files(rows)
        shuffled = own.shuffle(rows.cardinality(), seed=self.order)
        return shuffled.interleave(read_file, cycle_length=_OPEN_SHARDS)

    def shuffle(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Shuffles what `interleave` gave, as much as a worker needs of it."""
        shuffled = examples.shuffle(self._reading.shuffle_buffer, seed=self.order)
        return self._share.fill_epoch(shuffled)

    def skip_batches(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Leaves out the examples of batches that are passed over."""
        batches, _ = self._share.skip_rounds(self._reading.skip)
        return self._skip_first(examples, batches * self.batch_size)

    def read(
        self, examples: tf.data.Dataset, to_batches: Callable, pictures: Pictures
    ) -> tf.data.Dataset:
        """Gives the batches of what `skip_batches` left; see `Reading.read_once`."""
        share, size = self._share, self.batch_size
        _, parts_done = share.skip_rounds(self._reading.skip)

        def cut(batches):
            return share.end_epoch(self._skip_first(share.cut(batches), parts_done))

        full = functools.partial(to_batches, batch_size=size, drop_remainder=True)
        return _read_batches(examples, full, pictures, self._reading.share and cut)

    def _skip_first(self, elements, count):
        """Leaves out so many elements in the first epoch only."""
        is_first = tf.equal(self._number, self._reading.epochs.start)
        return elements.skip(tf.where(is_first, tf.constant(count, tf.int64), 0))


def _read_batches(examples, to_batches, pictures, cut):
    """Reads pictures before batches are made; with `cut` only what it leaves of them.

    To cut batches that are read would make each worker decode the images of all.
    """
    if cut is None:
        return to_batches(examples.map(pictures.read_one, tf.data.AUTOTUNE))
    return cut(to_batches(examples)).map(pictures.read_rows, tf.data.AUTOTUNE)


def without_tuning(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Turns the tuning of tf.data off; numbers left to it stay as they begin.

    Its thread sleeps twice as long each time, up to a minute, and the end of a pass
    over the data sometimes waits for it: 3.7 s of training then take 5.1.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)
