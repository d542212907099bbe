"""Tells a data set from another one, without reading it."""

import hashlib
import os
import pathlib

from tf_prompt.data.split import SPLITS

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
    folder: str | pathlib.Path, expected: dict[str, str], owner, splits=SPLITS
) -> None:
    """Checks that shards are those that a run was trained on.

    Args:
        folder: the shards.
        expected: what `fingerprint` returned then.
        owner: whose data it is, for the error.
        splits: what is compared.

    Raises:
        ValueError: naming the first split that differs.
    """
    found = fingerprint(folder)
    for split in splits:
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
