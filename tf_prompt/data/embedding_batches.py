"""Batches of images and the embeddings of their prompts."""

import functools
import hashlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import epochs as reading
from tf_prompt.data import folder as data_folder
from tf_prompt.data import images, records, sharding, targets
from tf_prompt.metrics import prompt_embedder


def training_batches(
    folder: str | pathlib.Path,
    target_paths: Sequence[str],
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    epochs: range,
    shuffle_buffer: int,
    prompt_ids: np.ndarray | None = None,
    skip: int = 0,
    share: sharding.Share | None = None,
) -> tf.data.Dataset:
    """Gives the batches of several epochs, one after the other.

    The order of an epoch depends on `seed` and the epoch's number alone. A last
    batch that is not full is dropped.

    Args:
        folder: shards of `pipelines.write_records`.
        target_paths: of `targets.target_shards` for the training split.
        image_size: pixels a side.
        batch_size: examples a batch, summed over replicas.
        seed: of the order.
        epochs: numbers of the epochs to give.
        shuffle_buffer: records that shuffling draws from.
        prompt_ids: of `number_prompts`; then an epoch has one image of each
            prompt, drawn anew each time.
        skip, share: see `caption_batches.TrainingEpochs`.

    Returns:
        Dataset of `(images, embeddings)`: uint8 `(batch, size, size, 3)` and
        float32 `(batch, 384)`.
    """
    shards = _numbered_shards(folder, target_paths)

    def read_epoch(order, skip_first):
        size = share.drawn_size(batch_size) if share else batch_size
        pairs = _shuffle(shards, prompt_ids, shuffle_buffer, order, share)
        if share:
            batch = functools.partial(_batch, size)
            parts = reading.cut_batches(pairs, share, skip, size, skip_first, batch)
            return _decode_own(parts, image_size)
        if skip:
            pairs = skip_first(pairs, skip * size)
        return _batch(size, pairs.map(_decode(image_size), tf.data.AUTOTUNE))

    return reading.read_epochs(epochs, seed, read_epoch)


def split_batches(
    folder: str | pathlib.Path,
    split: str,
    target_paths: Sequence[str],
    *,
    image_size: int,
    batch_size: int,
    share: sharding.Share | None = None,
) -> tf.data.Dataset:
    """Gives a split once, in order, in the form of `training_batches`."""
    pairs = tf.data.Dataset.zip(
        tf.data.TFRecordDataset(records.list_shards(folder, split)),
        tf.data.TFRecordDataset(list(target_paths)),
    )
    if share:
        parts = _decode_own(share.cut(pairs.batch(batch_size)), image_size)
        return parts.prefetch(tf.data.AUTOTUNE)
    decoded = pairs.map(_decode(image_size), tf.data.AUTOTUNE)
    count = targets.count_targets(target_paths)
    return reading.with_length(decoded.batch(batch_size), count, batch_size)


class Examples:
    """A split's records, pictures still encoded, in order.

    Args:
        folder: shards of `pipelines.write_records`.
        split: one of `split.SPLITS`.
        limit: examples at most; None takes all.
        skip: examples passed over, from the first.
        with_targets: whether the embedding of each prompt is given too, which takes
            MiniLM where nobody has computed them before.
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
        """Gives batches while a bar that says `task` counts their images.

        Yields:
            dicts of lists: `image`, encoded bytes; `image_id`, `prompt` and
            `reference`, the normalised words, text; and with targets `target`,
            float32 `(batch, 384)`.
        """

        def parse(serialised):
            example = records.parse(serialised)
            reference = tf.strings.reduce_join(example.pop("words"), separator=" ")
            return {**example, "reference": reference}

        found = self._records.map(parse)
        if self._targets is not None:
            found = tf.data.Dataset.zip(found, self._targets)
            found = found.map(lambda example, target: {**example, "target": target})
        wanted = found.take(self.num_examples).skip(self._skip)
        with tqdm.tqdm(
            total=self.num_examples, initial=self._skip, desc=task, unit="image"
        ) as bar:
            for batch in wanted.batch(batch_size).as_numpy_iterator():
                texts = ("image_id", "prompt", "reference")
                decoded = {
                    k: [t.decode(errors="replace") for t in batch[k]] for k in texts
                }
                yield {**batch, "image": list(batch["image"]), **decoded}
                bar.update(len(batch["image"]))

    def targets(self) -> np.ndarray:
        """All embeddings, float32 `(examples, 384)`."""
        wanted = self._targets.take(self.num_examples)
        return np.stack(list(wanted.as_numpy_iterator()))


def number_prompts(folder: str | pathlib.Path) -> np.ndarray:
    """Gives equal prompts of the training split equal numbers.

    Two prompts are equal if their normalised words are.

    Returns:
        int32 `(images,)`, in the order of the shards; numbers from 0 up.
    """
    # Digests, not texts: 2 million prompts take 32 MB.
    digests = [
        hashlib.blake2b(prompt.encode(), digest_size=8).digest()
        for shard in records.list_shards(folder, "train")
        for prompt in targets.read_prompts(shard, "words")
    ]
    keys = np.frombuffer(b"".join(digests), dtype=np.uint64)
    return np.unique(keys, return_inverse=True)[1].astype(np.int32)


def _numbered_shards(folder, target_paths) -> tf.data.Dataset:
    """Path of each shard and of its targets, and the number of its first image."""
    counts = [targets.count_targets([path]) for path in target_paths]
    starts = np.cumsum([0, *counts[:-1]], dtype=np.int64)
    shards = records.list_shards(folder, "train")
    return tf.data.Dataset.from_tensor_slices((shards, list(target_paths), starts))


def _shuffle(shards, prompt_ids, buffer, order, share):
    """Gives an epoch's pairs of record and target, as a worker draws them."""
    files = share.choose_files(shards) if share else shards
    numbered = files.shuffle(len(shards), seed=order).interleave(
        _read_shard, cycle_length=reading.OPEN_SHARDS
    )
    if prompt_ids is not None:
        chosen = _choose_images(prompt_ids, order)
        numbered = numbered.filter(lambda index, pair: chosen[index])
    pairs = numbered.map(lambda index, pair: pair)
    pairs = pairs.shuffle(buffer, seed=order)
    return share.fill_epoch(pairs) if share else pairs


def _batch(size, pairs):
    return pairs.batch(size, drop_remainder=True)


def _read_shard(shard, target, start):
    pairs = tf.data.Dataset.zip(
        tf.data.TFRecordDataset(shard), tf.data.TFRecordDataset(target)
    )
    return pairs.enumerate(start)


def _choose_images(prompt_ids, seed):
    """True for one image of each prompt: that of the largest random number."""
    numbers = tf.random.stateless_uniform([len(prompt_ids)], [seed, 0])
    ids = tf.constant(prompt_ids)
    largest = tf.math.unsorted_segment_max(numbers, ids, int(prompt_ids.max()) + 1)
    return numbers >= tf.gather(largest, ids)


def _decode_own(parts, image_size):
    decode = sharding.decode_rows(
        lambda record: images.decode_stored(records.parse(record)["image"], image_size),
        tf.TensorSpec((image_size, image_size, 3), tf.uint8),
    )
    read = sharding.decode_rows(
        targets.parse_target,
        tf.TensorSpec((prompt_embedder.EMBEDDING_DIM,), tf.float32),
    )
    return parts.map(
        lambda record, target: (decode(record), read(target)), tf.data.AUTOTUNE
    )


def _decode(image_size):
    def transform(serialised, target):
        example = records.parse(serialised)
        picture = images.decode_stored(example["image"], image_size)
        return picture, targets.parse_target(target)

    return transform
