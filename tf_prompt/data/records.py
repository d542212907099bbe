"""The TFRecord schema, and shard files that are written atomically."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from tf_prompt.data import listing
from tf_prompt.data.graphs import as_written, without_tuning
from tf_prompt.data.split import SPLITS

# Fields of a record that only some data sets have.
LABELS = ("family", "source")
SHARD_NAME = "{split}-{index:05d}.tfrecord"
# The installed package does not contain the pipelines.
CHECKOUT = (
    "git clone https://github.com/tf-prompt/tf_prompt && cd tf_prompt && "
    'pip install -e ".[ingest]"'
)


@dataclasses.dataclass(frozen=True)
class Record:
    """One image and its prompt.

    Args:
        image_id: file name of the image in its source.
        image: square RGB image, encoded as JPEG.
        prompt: the original text.
        words: `text.split_words` of the prompt.
        family: name of the group of similar prompts to which this one belongs; empty
            if prompts were not grouped.
        source: origin of the image, for scores by source; empty if no column gives it.
    """

    image_id: str
    image: bytes
    prompt: str
    words: list[str]
    family: str = ""
    source: str = ""


def serialise(record: Record) -> bytes:
    """Serialises a record as the bytes of a `tf.train.Example`."""
    values = {
        "image": [record.image],
        "image_id": [record.image_id.encode()],
        "prompt": [record.prompt.encode()],
        "words": [word.encode() for word in record.words],
    }
    for name in LABELS:
        if label := getattr(record, name):
            values[name] = [label.encode()]
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        for name, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # Map fields have no fixed order unless requested, and shards must be byte for
    # byte the same in every run.
    return example.SerializeToString(deterministic=True)


@as_written
def parse(serialised) -> dict:
    """Parses one record inside a tf.data pipeline.

    Args:
        serialised: scalar string tensor, the bytes of `serialise`.

    Returns:
        dict of scalar strings `image` (still encoded), `image_id` and `prompt`, and
        `words`, string `(words,)`.
    """
    scalar = tf.io.FixedLenFeature((), tf.string)
    words = tf.io.FixedLenSequenceFeature((), tf.string, allow_missing=True)
    return tf.io.parse_single_example(
        serialised,
        {"image": scalar, "image_id": scalar, "prompt": scalar, "words": words},
    )


def parse_labels(serialised) -> dict:
    """Reads the fields `LABELS` of a record, scalar strings; empty if it has none."""
    text = tf.io.FixedLenFeature((), tf.string, default_value="")
    return tf.io.parse_single_example(serialised, dict.fromkeys(LABELS, text))


@as_written
def number_family(serialised):
    """Numbers a record's family, scalar int32; by default equal words are a family.

    The chance that two families get the same number is one in two billion.
    """
    words = tf.strings.reduce_join(parse(serialised)["words"], separator=" ")
    family = parse_labels(serialised)["family"]
    name = tf.where(family == "", words, family)
    return tf.cast(tf.strings.to_hash_bucket_fast(name, 2**31 - 1), tf.int32)


def number_families(folder: str | pathlib.Path, split: str) -> list[int]:
    """Numbers the families of a split, in the order of its shards.

    Raises:
        FileNotFoundError: as `list_shards`.
    """
    numbered = tf.data.TFRecordDataset(list_shards(folder, split)).map(number_family)
    return [int(n) for n in without_tuning(numbered).as_numpy_iterator()]


def list_labels(folder: str | pathlib.Path, split: str) -> list[str]:
    """Names those of `LABELS` that the first record of a split has.

    Raises:
        FileNotFoundError: as `list_shards`.
    """
    first = tf.data.TFRecordDataset(list_shards(folder, split)).take(1)
    first = without_tuning(first)
    return [
        name
        for record in first
        for name, label in parse_labels(record).items()
        if label.numpy()
    ]


class ShardWriter:
    """Writes one shard; the file appears only when it is complete.

    A context manager; after an exception the partial file is removed.

    Args:
        path: the shard's final name.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self.num_records = 0
        # Not `.tfrecord`: a partial file of a killed run must not look like a shard.
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
    """Returns the path of a split's shard from input part `index`."""
    return pathlib.Path(folder) / SHARD_NAME.format(split=split, index=index)


def list_splits(folder: str | pathlib.Path) -> list[str]:
    """Lists the splits for which a folder has shards."""
    folder = pathlib.Path(folder)
    return [split for split in SPLITS if next(folder.glob(f"{split}-*.tfrecord"), None)]


def list_shards(folder: str | pathlib.Path, split: str) -> list[str]:
    """Lists the shards of a split in order.

    Raises:
        FileNotFoundError: if the folder or the split's shards are missing; the message
            says what to do.
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
            f"data must have examples of {split}: that split is empty. Received: "
            f"{folder} with shards of {' and '.join(others)} only. Write them again "
            f"from more prompts, or with {help_text}"
        )
    if not shards:
        raise FileNotFoundError(_explain_no_shards(folder, split))
    return shards


def _explain_no_shards(folder: pathlib.Path, split: str) -> str:
    commands = f"{CHECKOUT} && python -m pipelines.write_records"
    if _holds_images(folder):
        source = folder.resolve()
        return (
            f"data must be a folder of shards. Received: {folder}, a folder of images, "
            f"which become shards first: {commands} --source {source} --output shards/ "
            "&& python -m tf_prompt.fit --data shards/"
        )
    return (
        f'no shards match "{folder}/{split}-*.tfrecord". Write them first: {commands} '
        f"--output {folder}; it runs from a checkout"
    )


def _holds_images(folder: pathlib.Path) -> bool:
    # Limited, because the folder may be a whole disk.
    for _, _, names in itertools.islice(os.walk(folder), 1000):
        if any(listing.has_image_ending(pathlib.PurePath(name)) for name in names):
            return True
    return False


@contextlib.contextmanager
def naming(shard: str | pathlib.Path) -> Iterator[None]:
    """Context manager that reports a damaged shard in one line with its name.

    Raises:
        ValueError: if its records are truncated, changed, or not those of
            `write_records`.
    """
    try:
        yield
    # The last one comes from a message that quotes the record's bytes.
    except (
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(
            f"a shard must hold whole records of write_records. Received: {shard}"
        ) from error


def count_records(shard: str | pathlib.Path) -> int:
    """Counts a shard's records from their headers.

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
