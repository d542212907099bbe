"""The part of each batch that one of several workers decodes and trains on."""

import dataclasses
import os
from collections.abc import Sequence

import tensorflow as tf

# Bytes that every worker may read in each epoch: a shared disk, or its cache, delivers
# them in seconds. Above this, each worker reads its own files.
SMALL_SPLIT = 4e9


@dataclasses.dataclass(frozen=True)
class Share:
    """A worker's share of the global batches.

    A batch is divided into `accumulate_steps` rounds, each with one part per replica.
    By element, all workers iterate over the same batches and each decodes its own
    parts: training equals that of a single process, up to rounding. By file, each
    worker draws its parts from its own files.

    Args:
        first: index of the worker's first replica.
        count: number of its replicas.
        total: number of replicas of all workers.
        accumulate_steps: number of rounds per batch.
        steps_per_epoch: number of batches per epoch.
        files: for division by file, the worker's index and the number of workers;
            else None.
    """

    first: int = 0
    count: int = 1
    total: int = 1
    accumulate_steps: int = 1
    steps_per_epoch: int = 0
    files: tuple[int, int] | None = None

    def choose_files(self, names: tf.data.Dataset) -> tf.data.Dataset:
        """Selects the files that the worker reads."""
        if self.files is None:
            return names
        index, count = self.files
        return names.shard(count, index)

    def fill_epoch(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Repeats the worker's examples, if its files may hold less than its share."""
        return examples if self.files is None else examples.repeat()

    def drawn_size(self, batch_size: int) -> int:
        """Number of examples that the worker draws per global batch."""
        return batch_size if self.files is None else self._own(batch_size)

    def cut(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Cuts global batches into those of the worker's replicas, in turn.

        Args:
            batches: nested tensors whose first axis is the batch.

        Returns:
            Dataset of the same structure with fewer rows; for a last batch that is
            not full, possibly none.
        """
        rounds, total, first = self.accumulate_steps, self.total, self.first
        if self.files is not None:
            total, first = self.count, 0
        parts = [
            round_ * total + replica
            for round_ in range(rounds)
            for replica in range(first, first + self.count)
        ]

        def cut(*batch):
            size = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]

            def take(part):
                start, stop = (p * size // (rounds * total) for p in (part, part + 1))
                return tf.nest.map_structure(lambda x: x[start:stop], batch)

            return tf.data.Dataset.from_tensor_slices(tf.constant(parts, tf.int64)).map(
                take
            )

        return batches.flat_map(cut)

    def end_epoch(self, parts: tf.data.Dataset) -> tf.data.Dataset:
        """Ends the epoch of every worker after the same number of steps."""
        if self.files is None:
            return parts
        return parts.take(self.steps_per_epoch * self.accumulate_steps * self.count)

    def for_validation(self) -> "Share | None":
        """The share for a split that is read once: by element, in one round."""
        if self.total == 1:
            return None
        return dataclasses.replace(self, accumulate_steps=1, files=None)

    def skip_rounds(self, skip: int) -> tuple[int, int]:
        """Converts a number of skipped steps to whole batches and remaining parts."""
        batches, rounds = divmod(skip, self.accumulate_steps)
        return batches, rounds * self.count

    def _own(self, batch_size):
        return batch_size // self.total * self.count


def check_batch_size(batch_size: int, accumulate_steps: int, total: int = 1) -> None:
    """Checks that batches can be divided into equal parts.

    Args:
        batch_size: examples per batch.
        accumulate_steps: number of rounds per batch.
        total: number of replicas of all workers.

    Raises:
        ValueError: if they cannot.
    """
    if batch_size % (accumulate_steps * total):
        parts = f"{total} replicas" if total > 1 else ""
        rounds = f"{accumulate_steps} accumulate_steps" if accumulate_steps > 1 else ""
        raise ValueError(
            "batch_size must be a multiple of "
            f"{' times '.join(filter(None, (parts, rounds)))}. Received: {batch_size}"
        )


def reads_files(way: str, shards: Sequence[str], num_workers: int) -> bool:
    """Whether each worker reads its own files.

    Args:
        way: `element`, `file`, or `auto`, which means `file` for a split above
            `SMALL_SPLIT` with at least as many files as workers.
        shards: files of the split.
        num_workers: int > 0, number of workers.

    Raises:
        ValueError: for `file` with fewer files than workers.
    """
    enough = len(shards) >= num_workers
    if way == "file" and not enough:
        raise ValueError(
            f"shard_by must be element for {num_workers} workers and {len(shards)} "
            "training files. Received: file"
        )
    if way == "auto":
        return enough and sum(map(os.path.getsize, shards)) > SMALL_SPLIT
    return way == "file"
