"""The TFRecord schema, and shard files that are either whole or absent."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from tf_prompt.data.graphs import as_written
from tf_prompt.data.split import SPLITS

SHARD_NAME = "{split}-{index:05d}.tfrecord"


@dataclasses.dataclass(frozen=True)
class Record:
    """One image and the prompt that made it.

    Args:
        image_id: file name of the image in its source.
        image: encoded square RGB image, JPEG.
        prompt: text as its user wrote it.
        words: `text.split_words` of the prompt.
    """

    image_id: str
    image: bytes
    prompt: str
    words: list[str]


def serialise(record: Record) -> bytes:
    """Turns a record into the bytes of a `tf.train.Example`."""
    values = {
        "image": [record.image],
        "image_id": [record.image_id.encode()],
        "prompt": [record.prompt.encode()],
        "words": [word.encode() for word in record.words],
    }
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        for name, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # Map fields have no fixed order unless it is asked for; shards must be
    # byte for byte the same from run to run.
    return example.SerializeToString(deterministic=True)


@as_written
def parse(serialised) -> dict:
    """Reads one record inside a tf.data pipeline.

    Args:
        serialised: scalar string tensor, the bytes of `serialise`.

    Returns:
        `image` (still encoded), `image_id` and `prompt`, scalar strings, and
        `words`, string `(words,)`.
    """
    scalar = tf.io.FixedLenFeature((), tf.string)
    words = tf.io.FixedLenSequenceFeature((), tf.string, allow_missing=True)
    return tf.io.parse_single_example(
        serialised,
        {"image": scalar, "image_id": scalar, "prompt": scalar, "words": words},
    )


class ShardWriter:
    """Writes one shard; its name appears only when all of it is on disk.

    Used as a context manager. Left by an exception, it removes what it wrote.

    Args:
        path: the shard's final name.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self.num_records = 0
        # Not `.tfrecord`: a half file of a killed run must not look like a shard.
        self._temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")

    def __enter__(self) -> "ShardWriter":
        self._writer = tf.io.TFRecordWriter(os.fspath(self._temporary))
        return self

    def write(self, record: Record) -> None:
        """Appends one record."""
        self._writer.write(serialise(record))
        self.num_records += 1

    def __exit__(self, error_type, error, trace) -> None:
        self._writer.close()
        if error_type is None:
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink(missing_ok=True)


def shard_path(folder: str | pathlib.Path, split: str, index: int) -> pathlib.Path:
    """Names the shard of a split that comes from input part `index`."""
    return pathlib.Path(folder) / SHARD_NAME.format(split=split, index=index)


def list_splits(folder: str | pathlib.Path) -> list[str]:
    """Lists the splits of which a folder has shards."""
    folder = pathlib.Path(folder)
    return [split for split in SPLITS if next(folder.glob(f"{split}-*.tfrecord"), None)]


def list_shards(folder: str | pathlib.Path, split: str) -> list[str]:
    """Lists the shards of a split in order.

    Raises:
        FileNotFoundError: if the folder or the split's shards are missing; of an
            empty split, unlike a folder without shards, it says what helps.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"data must be `toy` or a folder. Received: {folder}")
    shards = sorted(os.fspath(path) for path in folder.glob(f"{split}-*.tfrecord"))
    if not shards and (others := list_splits(folder)):
        help_text = f"a larger share: --{split} 0.2"
        if split == "train":
            help_text = "smaller shares of the others: --validation 0.05 --test 0.05"
        raise FileNotFoundError(
            f"data must hold examples of {split}: that split is empty. Received: "
            f"{folder} with shards of {' and '.join(others)} only. Write them again "
            f"from more prompts, or with {help_text}"
        )
    if not shards:
        raise FileNotFoundError(
            f'no shards match "{folder}/{split}-*.tfrecord". Write them first, from a '
            f"checkout: python -m pipelines.write_records --output {folder}"
        )
    return shards


@contextlib.contextmanager
def naming(shard: str | pathlib.Path) -> Iterator[None]:
    """Turns what TensorFlow says of a damaged shard into one line that names it.

    Raises:
        ValueError: if its records are cut, changed, or no records of ours.
    """
    try:
        yield
    # The last is of a message that quotes the bytes of the record.
    except (
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(
            f"a shard must hold whole records of write_records. Received: {shard}"
        ) from error


def count_records(shard: str | pathlib.Path) -> int:
    """Counts a shard's records by their headers alone.

    Raises:
        ValueError: if the headers do not lead to the end of the file.
    """
    num_records = place = 0
    size = os.path.getsize(shard)
    with open(shard, "rb") as file:
        # A TFRecord: length, its checksum (4 bytes), content, its checksum (4).
        while place < size:
            file.seek(place)
            header = file.read(8)
            place += int.from_bytes(header, "little") + 16
            if len(header) < 8 or place > size:
                raise ValueError(
                    f"a shard must hold whole records. Received: {shard}, damaged "
                    f"after record {num_records}"
                )
            num_records += 1
    return num_records
