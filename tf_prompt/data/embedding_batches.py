"""Batches of images and the embeddings of their prompts."""

import hashlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import folder as data_folder
from tf_prompt.data import images, records, targets
from tf_prompt.data.graphs import as_written, without_tuning
from tf_prompt.data.reading import ImageReader, Reading


@as_written
def training_batches(
    reading: Reading,
    target_paths: Sequence[str],
    prompt_ids: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Returns the batches of several epochs, one after the other.

    Args:
        reading: how the training split is read.
        target_paths: from `targets.target_shards` for the split.
        prompt_ids: from `number_prompts`; if given, each epoch draws one image per
            prompt.

    Returns:
        Dataset of `(images, embeddings)`: uint8 `(batch, size, size, 3)` and
        float32 `(batch, 384)`.
    """
    shards = records.list_shards(reading.folder, "train")
    # The number of each shard's first image.
    counts = [targets.count_targets([path]) for path in target_paths]
    starts = np.cumsum([0, *counts[:-1]], dtype=np.int64)
    files = shards, list(target_paths), starts

    def read_epoch(epoch):
        numbered = epoch.interleave(files, _read_shard)
        if prompt_ids is not None:
            chosen = _choose_images(prompt_ids, epoch.order)
            numbered = numbered.filter(lambda index, pair: chosen[index])
        pairs = epoch.shuffle(numbered.map(lambda index, pair: pair))
        pairs = epoch.skip_batches(pairs).map(_parse_target)
        return epoch.read(pairs, tf.data.Dataset.batch, _image_reader(reading))

    return reading.read_epochs(read_epoch)


@as_written
def split_batches(
    reading: Reading, split: str, target_paths: Sequence[str]
) -> tf.data.Dataset:
    """Returns a split once, in order; batches as in `training_batches`.

    Args:
        reading: how the split is read.
        split: one of `split.SPLITS`.
        target_paths: as in `training_batches`.
    """
    pairs = tf.data.Dataset.zip(
        tf.data.TFRecordDataset(records.list_shards(reading.folder, split)),
        tf.data.TFRecordDataset(list(target_paths)),
    )
    return reading.read_once(
        pairs.map(_parse_target),
        targets.count_targets(target_paths),
        tf.data.Dataset.batch,
        _image_reader(reading),
    )


class Examples:
    """A split's records, images still encoded, in order.

    Args:
        folder: folder of shards.
        split: one of `split.SPLITS`.
        limit: largest number of examples; None takes all.
        skip: number of examples to skip at the start.
        with_targets: whether to read the embeddings of the prompts too, which needs
            MiniLM if they have not been computed before.
    """

    def __init__(
        self,
        folder,
        split: str,
        limit: int | None = None,
        skip: int = 0,
        with_targets: bool = True,
    ):
        self.num_examples = data_folder.count_examples(folder, split, limit)
        self._skip, self._targets = skip, None
        if with_targets:
            paths = targets.target_shards(folder, split)
            self._targets = tf.data.TFRecordDataset(paths).map(targets.parse_target)
        self._records = tf.data.TFRecordDataset(records.list_shards(folder, split))

    def batches(self, batch_size: int, task: str) -> Iterator[dict]:
        """Reads batches, with a progress bar.

        Args:
            batch_size: examples per batch.
            task: title of the progress bar.

        Yields:
            dicts of lists: `image`, encoded bytes; strings `image_id`, `prompt`,
            those of `records.LABELS`, empty where there is none, and `reference`, the
            normalised words; with targets also `target`, float32 `(batch, 384)`.
        """

        @as_written
        def parse(serialised):
            example = records.parse(serialised)
            reference = tf.strings.reduce_join(example.pop("words"), separator=" ")
            labels = records.parse_labels(serialised)
            return {**example, "reference": reference, **labels}

        found = self._records.map(parse)
        if self._targets is not None:
            found = tf.data.Dataset.zip(found, self._targets)
            found = found.map(_join)
        wanted = found.take(self.num_examples).skip(self._skip)
        batches = without_tuning(wanted.batch(batch_size))
        with tqdm.tqdm(
            total=self.num_examples, initial=self._skip, desc=task, unit="image"
        ) as bar:
            for batch in batches.as_numpy_iterator():
                texts = ("image_id", "prompt", "reference", *records.LABELS)
                decoded = {
                    k: [t.decode(errors="replace") for t in batch[k]] for k in texts
                }
                yield {**batch, "image": list(batch["image"]), **decoded}
                bar.update(len(batch["image"]))

    def pixels(self, sizes: Sequence[int], batch_size: int, task: str) -> Iterator:
        """Reads images alone, decoded in parallel and ahead of their use.

        Args:
            sizes: one or several sides in pixels.
            batch_size, task: as in `batches`.

        Yields:
            dicts from size to uint8 `(batch, size, size, 3)`, 0-255.
        """

        @as_written
        def decode(serialised):
            stored = records.parse(serialised)["image"]
            return tuple(images.decode_stored(stored, size) for size in sizes)

        wanted = self._records.take(self.num_examples).skip(self._skip)
        decoded = wanted.map(decode, tf.data.AUTOTUNE).batch(batch_size).prefetch(1)
        with tqdm.tqdm(
            total=self.num_examples, initial=self._skip, desc=task, unit="image"
        ) as bar:
            for found in without_tuning(decoded):
                yield dict(zip(sizes, found, strict=True))
                bar.update(len(found[0]))

    def targets(self) -> np.ndarray:
        """Reads all embeddings, float32 `(examples, 384)`."""
        wanted = without_tuning(self._targets.take(self.num_examples))
        return np.stack(list(wanted.as_numpy_iterator()))


def number_prompts(folder: str | pathlib.Path) -> np.ndarray:
    """Numbers the distinct prompts of the training split.

    Prompts are equal if their normalised words are.

    Returns:
        int32 `(images,)`, numbers from 0, in the order of the shards.
    """
    # Digests instead of texts: 2 million prompts take 32 MB.
    digests = [
        hashlib.blake2b(prompt.encode(), digest_size=8).digest()
        for shard in records.list_shards(folder, "train")
        for prompt in targets.read_prompts(shard, "words")
    ]
    keys = np.frombuffer(b"".join(digests), dtype=np.uint64)
    return np.unique(keys, return_inverse=True)[1].astype(np.int32)


def _read_shard(shard, target, start):
    pairs = tf.data.Dataset.zip(
        tf.data.TFRecordDataset(shard), tf.data.TFRecordDataset(target)
    )
    return pairs.enumerate(start)


def _choose_images(prompt_ids, seed):
    """Chooses one random image of each prompt: True for those chosen."""
    numbers = tf.random.stateless_uniform([len(prompt_ids)], [seed, 0])
    ids = tf.constant(prompt_ids)
    largest = tf.math.unsorted_segment_max(numbers, ids, int(prompt_ids.max()) + 1)
    return numbers >= tf.gather(largest, ids)


@as_written
def _join(example, target):
    return {**example, "target": target}


def _parse_target(record, target):
    return record, targets.parse_target(target)


def _image_reader(reading) -> ImageReader:
    # Records are parsed where images are decoded, several at a time.
    return reading.pixels(lambda record: records.parse(record)["image"], key=None)
