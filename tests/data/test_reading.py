"""Orders, steps passed over and shares, on files that are ranges of numbers."""

import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.data.reading import ImageReader, Reading
from tf_prompt.data.sharding import Share

FILES = np.arange(0, 40, 10)


class Noted:
    """Pictures that are ten times a number; keeps the numbers that were read."""

    def __init__(self):
        self.numbers = []
        spec = tf.TensorSpec((), tf.int64)
        self.pictures = ImageReader(
            lambda x: tf.ensure_shape(tf.numpy_function(self._read, [x], tf.int64), ()),
            spec,
            key=None,
        )

    def _read(self, number):
        self.numbers.append(int(number))
        return 10 * number


def train(noted, **changes):
    options = {"batch_size": 12, "seed": 3, "shuffle_buffer": 20, **changes}
    reading = Reading(folder="", image_size=1, **options)

    def read_epoch(epoch):
        numbers = epoch.interleave(FILES, lambda x: tf.data.Dataset.range(x, x + 10))
        numbers = epoch.skip_batches(epoch.shuffle(numbers))
        pairs = numbers.map(lambda x: (x, -x))
        return epoch.read(pairs, tf.data.Dataset.batch, noted.pictures)

    return batches_of(reading.read_epochs(read_epoch))


def batches_of(batches):
    pairs = list(batches.as_numpy_iterator())
    for pictures, numbers in pairs:
        np.testing.assert_array_equal(pictures, -10 * numbers)
    return [(-numbers).tolist() for _, numbers in pairs]


@pytest.mark.parametrize("share", [None, Share(accumulate_steps=2), Share(1, 1, 2)])
def test_pictures_of_steps_passed_over_are_not_read(share):
    noted = Noted()
    whole = train(Noted(), epochs=range(2), share=share)
    later = train(noted, epochs=range(2), share=share, skip=3)
    assert later == whole[3:]
    # What fills no batch at the end of an epoch may be read; it is dropped.
    read, given = sorted(noted.numbers), sorted(sum(later, []))
    assert read == given or (share is None and set(given) <= set(read))


def test_workers_read_pictures_of_their_own_parts():
    whole, noted = train(Noted()), [Noted(), Noted()]
    parts = [train(n, share=Share(i, 1, 2)) for i, n in enumerate(noted)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole
    for own, n in zip(parts, noted, strict=True):
        assert sorted(n.numbers) == sorted(sum(own, []))


def test_workers_with_files_of_their_own_end_together():
    # The first has two files, the others one: too few for three steps of four.
    shares = [Share(i, 1, 3, steps_per_epoch=3, files=(i, 3)) for i in range(3)]
    parts = [train(Noted(), share=share) for share in shares]
    assert [[len(part) for part in own] for own in parts] == [[4, 4, 4]] * 3
    own_files = [{0, 3}, {1}, {2}]
    for own, files in zip(parts, own_files, strict=True):
        assert {number // 10 for number in sum(own, [])} == files


@pytest.mark.parametrize(
    "share, sizes", [(None, [4, 4, 2]), (Share(0, 1, 2), [2, 2, 1])]
)
def test_a_split_read_once_keeps_its_last_batch(share, sizes):
    noted = Noted()
    reading = Reading(folder="", image_size=1, batch_size=4, share=share)
    pairs = tf.data.Dataset.range(10).map(lambda x: (x, -x))
    batches = reading.read_once(pairs, 10, tf.data.Dataset.batch, noted.pictures)
    found = batches_of(batches)
    assert [len(batch) for batch in found] == sizes
    assert sorted(noted.numbers) == sum(found, [])
    assert share or len(batches) == 3
