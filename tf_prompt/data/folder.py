"""The folder of shards that `--data` names: its place, counts and fingerprint."""

import collections
import hashlib
import os
import pathlib

import tensorflow as tf
import tqdm

from tf_prompt.data import records
from tf_prompt.data.split import SPLITS
from tf_prompt.data.toy import shards as toy_shards

# Of each end of a shard. A shard in between is guarded by its records' checksums.
_SAMPLE = 4096


def fingerprint(folder: str | pathlib.Path) -> dict[str, str]:
    """Digests names, sizes, first and last bytes of the shards of each split.

    Args:
        folder: shards of `pipelines.write_records`.

    Returns:
        From the name of each split that is there to 16 hexadecimal digits.
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
    """Checks that shards are those that a run was trained on.

    Args:
        folder: the shards.
        expected: what `fingerprint` returned then.
        owner: whose data it is, for the error.

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
    """Gives the folder of shards that `--data` names; writes the toy set if absent.

    Raises:
        FileNotFoundError: if the folder holds no training shard.
    """
    folder = toy_shards.toy_folder() if data == "toy" else pathlib.Path(data)
    records.list_shards(folder, "train")
    return folder


def count_words(folder: str | pathlib.Path) -> tuple[collections.Counter, int]:
    """Counts the words of the training split.

    Returns:
        Uses of each word, and the number of examples.

    Raises:
        FileNotFoundError: if the folder holds no training shard.
        ValueError: if a shard is damaged; names it.
    """
    shards = records.list_shards(folder, "train")
    feature = {"words": tf.io.RaggedFeature(tf.string)}
    counts: collections.Counter = collections.Counter()
    num_examples = 0
    for shard in tqdm.tqdm(shards, desc="counting words", unit="shard", leave=False):
        with records.naming(shard):
            for batch in tf.data.TFRecordDataset(shard).batch(256):
                words = tf.io.parse_example(batch, feature)["words"]
                counts.update(words.flat_values.numpy().tolist())
                num_examples += int(words.nrows())
    words = {w.decode(errors="replace"): n for w, n in counts.items()}
    return collections.Counter(words), num_examples


def count_examples(
    folder: str | pathlib.Path, split: str, limit: int | None = None
) -> int:
    """Counts the examples of a split by the records' headers alone.

    Args:
        folder: shards of `pipelines.write_records`.
        split: one of `split.SPLITS`.
        limit: examples at most; None counts all.

    Raises:
        FileNotFoundError: if the folder holds no shard of the split.
    """
    shards = records.list_shards(folder, split)
    count = sum(records.count_records(shard) for shard in shards)
    return count if limit is None else min(limit, count)
