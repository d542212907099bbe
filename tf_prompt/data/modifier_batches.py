"""Batches of images with the modifiers of their prompts."""

import collections
import functools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import records, targets
from tf_prompt.data.reading import Reading, read_places
from tf_prompt.data.region_cache import Features
from tf_prompt.data.text import normalise
from tf_prompt.metrics.modifiers import split_modifiers


def read_modifiers(folder, split: str) -> Iterator[list[tuple[str, list[str]]]]:
    """Reads the prompts of a split, and splits off their modifiers.

    Args:
        folder: folder of shards from `pipelines.write_records`.
        split: one of `split.SPLITS`.

    Yields:
        One list per shard, of pairs: the original prompt, and the list of its
        modifiers.

    Raises:
        FileNotFoundError: if the split has no shards.
    """
    # Cached, because parts repeat often and normalising is slow.
    to_words = functools.lru_cache(2**20)(lambda part: normalise(part, None))
    shards = records.list_shards(folder, split)
    for shard in tqdm.tqdm(shards, f"modifiers of {split}", unit="shard", delay=2):
        prompts = targets.read_prompts(shard)
        yield [(prompt, split_modifiers(prompt, to_words)) for prompt in prompts]


def choose_modifiers(folder, num_prompts: int) -> list[str]:
    """Chooses the modifiers that occur in enough distinct training prompts.

    Args:
        folder: folder of shards from `pipelines.write_records`.
        num_prompts: int > 0. Smallest number of prompts that contain a modifier.

    Returns:
        list of modifiers, most frequent first, then alphabetically.

    Raises:
        ValueError: if no modifier is in so many prompts.
    """
    sets = dict(pair for shard in read_modifiers(folder, "train") for pair in shard)
    counts = collections.Counter(m for found in sets.values() for m in found)
    kept = [modifier for modifier, count in counts.items() if count >= num_prompts]
    if not kept:
        most = max(counts.values(), default=0)
        raise ValueError(
            "modifier_prompts must be at most the number of training prompts with the "
            f"most common modifier, {most}. Received: {num_prompts}"
        )
    return sorted(kept, key=lambda modifier: (-counts[modifier], modifier))


class ModifierTargets:
    """The modifiers of each image of a split, as flags.

    Args:
        folder: folder of shards from `pipelines.write_records`.
        split: one of `split.SPLITS`.
        modifiers: the modifiers to look for, in the order of the flags.

    Attributes:
        num_examples: int, number of images in the split.
        num_modifiers: int, length of `modifiers`.
        counts: int64 `(num_examples,)`, number of modifiers of each image, with those
            that are not looked for.
    """

    def __init__(self, folder, split: str, modifiers: Sequence[str]):
        number = {modifier: i for i, modifier in enumerate(modifiers)}
        shards = list(read_modifiers(folder, split))
        sizes = [len(shard) for shard in shards]
        self.num_examples, self.num_modifiers = sum(sizes), len(modifiers)
        self._starts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
        found = [modifiers for shard in shards for _, modifiers in shard]
        self.counts = np.array([len(own) for own in found], np.int64)
        held = [[number[m] for m in own if m in number] for own in found]
        # Ids, not flags: a million prompts have about ten of thousands each.
        widest = max([1, *map(len, held)])
        self._ids = np.full((len(held), widest), -1, np.int32)
        for row, ids in zip(self._ids, held, strict=True):
            row[: len(ids)] = ids

    def flags(self, block: slice = slice(None)) -> np.ndarray:
        """Returns bool flags `(examples, modifiers)`, in the order of the shards.

        Args:
            block: which examples; by default all.
        """
        ids = self._ids[block]
        found = np.zeros((len(ids), self.num_modifiers), bool)
        rows, places = np.nonzero(ids >= 0)
        found[rows, ids[rows, places]] = True
        return found

    def log_odds(self) -> np.ndarray:
        """Returns how often each modifier occurs, float64 `(modifiers,)`, as log odds.

        Half an occurrence is added, so that none is infinite.
        """
        found = self._ids[self._ids >= 0]
        counts = np.bincount(found, minlength=self.num_modifiers) + 0.5
        return np.log(counts / (self.num_examples + 1 - counts))

    def look_up(self, place):
        """Looks up the flags of an example.

        Args:
            place: int64 `(2,)`, its shard and its record.

        Returns:
            float32 `(modifiers,)`, 0 or 1.
        """
        row = tf.gather(tf.constant(self._starts), place[0]) + place[1]
        ids = tf.gather(tf.constant(self._ids), row)
        flags = tf.one_hot(ids, self.num_modifiers)
        return tf.reduce_max(flags, axis=0)


def training_batches(
    reading: Reading, found: ModifierTargets, features: Features | None = None
) -> tf.data.Dataset:
    """Returns the batches of several epochs, one after another.

    Args:
        reading: how to read the training split.
        found: the modifiers of the training split.
        features: stored features, read instead of images; None reads images.

    Returns:
        Dataset of `(inputs, flags)`: `images`, uint8 `(batch, size, size, 3)`, or
        `regions`, float16 `(batch, regions, depth)`; and float32 `(batch,
        modifiers)`.
    """
    shards = records.list_shards(reading.folder, "train")
    files = np.arange(len(shards)), shards

    def read_epoch(epoch):
        placed = epoch.shuffle(epoch.interleave(files, read_places))
        examples = epoch.skip_batches(placed).map(_pose(found, features))
        reader = reading.pixels_or_regions(features, epoch.order)
        return epoch.read(examples, tf.data.Dataset.batch, reader)

    return reading.read_epochs(read_epoch)


def validation_batches(
    reading: Reading, found: ModifierTargets, features: Features | None = None
) -> tf.data.Dataset:
    """Returns the validation split once, in order; batches as in `training_batches`."""
    shards = records.list_shards(reading.folder, "validation")
    placed = tf.data.Dataset.from_tensor_slices(shards).enumerate()
    examples = placed.flat_map(read_places).map(_pose(found, features))
    return reading.read_once(
        examples,
        found.num_examples,
        tf.data.Dataset.batch,
        reading.pixels_or_regions(features, 0),
    )


def _pose(found, features):
    def pose(record, place):
        image = records.parse(record)["image"]
        inputs = {"images": image} if features is None else {"regions": place}
        return inputs, found.look_up(place)

    return pose
