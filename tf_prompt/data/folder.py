"""The folder of shards that `--data` names: its path, counts and fingerprint."""

import collections
import hashlib
import os
import pathlib

import tensorflow as tf
import tqdm

from tf_prompt.data import records
from tf_prompt.data.graphs import without_tuning
from tf_prompt.data.split import SPLITS
from tf_prompt.data.toy import shards as toy_shards

# Bytes at each end of a shard. Checksums of its records guard the rest.
_SAMPLE = 4096


def fingerprint(folder: str | pathlib.Path) -> dict[str, str]:
    """Hashes the names, sizes, first and last bytes of the shards of each split.

    Args:
        folder: folder of shards.

    Returns:
        dict from the name of each existing split to 16 hexadecimal digits.
    """
    prints = {}
    for split in SPLITS:
        shards = sorted(pathlib.Path(folder).glob(f"{split}-*.tfrecord"))
        if shards:
            digest = hashlib.blake2b(digest_size=8)
            for shard in shards:
                _update(digest, shard)
            prints[split] = digest.hexdigest()
    return prints


def require_same(
    folder: str | pathlib.Path, expected: dict[str, str], owner: str
) -> None:
    """Checks that shards are those on which a run was trained.

    Args:
        folder: folder of shards.
        expected: earlier result of `fingerprint`.
        owner: name of the run, for the message.

    Raises:
        ValueError: naming the first split that differs.
    """
    found = fingerprint(folder)
    for split in SPLITS:
        if split in expected and found.get(split) != expected[split]:
            raise ValueError(
                f"data must be what {owner} was trained on, whose {split} split has "
                f"the fingerprint {expected[split]}. Received: {folder} with "
                f"{found.get(split, 'none')}"
            )


def _update(digest, shard) -> None:
    size = shard.stat().st_size
    digest.update(f"{shard.name} {size}\n".encode())
    with open(shard, "rb") as file:
        digest.update(file.read(_SAMPLE))
        if size > _SAMPLE:
            file.seek(max(_SAMPLE, size - _SAMPLE), os.SEEK_SET)
            digest.update(file.read())


def find_data(data: str) -> pathlib.Path:
    """Returns the folder of shards that `--data` names; writes the toy set if needed.

    Args:
        data: a folder, or `toy`.

    Raises:
        FileNotFoundError: if the folder holds no training shards.
    """
    folder = toy_shards.toy_folder() if data == "toy" else pathlib.Path(data)
    records.list_shards(folder, "train")
    return folder


def count_words(folder: str | pathlib.Path) -> tuple[collections.Counter, int]:
    """Counts the words of the training split.

    Returns:
        counts: `collections.Counter` of the words.
        num_examples: number of examples.

    Raises:
        FileNotFoundError: if the folder holds no training shards.
        ValueError: if a shard is damaged; the message names it.
    """
    shards = records.list_shards(folder, "train")
    feature = {"words": tf.io.RaggedFeature(tf.string)}
    counts: collections.Counter = collections.Counter()
    num_examples = 0
    for shard in tqdm.tqdm(shards, desc="counting words", unit="shard", leave=False):
        with records.naming(shard):
            for batch in without_tuning(tf.data.TFRecordDataset(shard).batch(256)):
                words = tf.io.parse_example(batch, feature)["words"]
                counts.update(words.flat_values.numpy().tolist())
                num_examples += int(words.nrows())
    words = {w.decode(errors="replace"): n for w, n in counts.items()}
    return collections.Counter(words), num_examples


def count_examples(
    folder: str | pathlib.Path, split: str, limit: int | None = None
) -> int:
    """Counts the examples of a split from the records' headers.

    Args:
        folder: folder of shards.
        split: one of `split.SPLITS`.
        limit: largest number; None counts all.

    Raises:
        FileNotFoundError: if the folder holds no shards of the split.
    """
    shards = records.list_shards(folder, split)
    count = sum(records.count_records(shard) for shard in shards)
    return count if limit is None else min(limit, count)
