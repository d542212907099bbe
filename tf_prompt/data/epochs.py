"""What reading has in common for all models: order, steps passed over, length."""

from collections.abc import Callable

import tensorflow as tf

from tf_prompt.data.sharding import Share

# Shards read in turn; more only helps disks that answer late.
OPEN_SHARDS = 4


def read_epochs(epochs: range, seed: int, read: Callable) -> tf.data.Dataset:
    """Gives the batches of several epochs, one after the other.

    Args:
        epochs: numbers of the epochs to give.
        seed: of the order.
        read: function that gives an epoch's batches. It takes the epoch's order, an
            int64 tensor to seed shuffling with, which depends on `seed` and the
            epoch's number alone; and `skip_first`, a function of a dataset and a
            count, which leaves out so many elements in the first of `epochs` only.
    """

    def read_epoch(epoch):
        # The seed of this function's graph alone: the order must not depend on the
        # program's. With 0 there, shuffle cannot take a tensor as its own seed.
        tf.random.set_seed(1)

        def skip_first(elements, count):
            is_first = tf.equal(epoch, epochs.start)
            return elements.skip(tf.where(is_first, tf.constant(count, tf.int64), 0))

        return read(seed * 1_000_003 + epoch, skip_first)

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return numbers.flat_map(read_epoch).prefetch(tf.data.AUTOTUNE)


def cut_batches(
    examples: tf.data.Dataset,
    share: Share,
    skip: int,
    batch_size: int,
    skip_first: Callable,
    to_batches: Callable,
) -> tf.data.Dataset:
    """Gives a worker's parts in the batches of an epoch, `skip` steps left out.

    Args:
        examples: of the epoch, as the worker draws them.
        share: the worker's.
        skip: steps left out if the epoch is the first.
        batch_size: examples that the worker draws for a batch.
        skip_first: of `read_epochs`.
        to_batches: function from examples to whole batches.
    """
    batches, parts_done = share.skip_rounds(skip)
    examples = skip_first(examples, batches * batch_size)
    parts = share.cut(to_batches(examples))
    return share.end_epoch(skip_first(parts, parts_done))


def with_length(batches, num_examples: int, batch_size: int) -> tf.data.Dataset:
    """Tells a split's batches how many they are, and prefetches them."""
    # Keras warns at the end of a dataset whose length it does not know.
    length = tf.data.experimental.assert_cardinality(-(-num_examples // batch_size))
    return batches.apply(length).prefetch(tf.data.AUTOTUNE)


def without_tuning(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Turns the tuning of tf.data off; numbers left to it stay as they begin.

    Its thread sleeps twice as long each time, up to a minute, and the end of a pass
    over the data sometimes waits for it: 3.7 s of training then take 5.1.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)
