"""Converts one part of a source to one shard per split, and its stats."""

import contextlib
import functools
import hashlib
import io
import json
import pathlib
import warnings
from collections.abc import Callable, Iterator

import pandas as pd
import PIL.Image
import tensorflow as tf

from pipelines.cleaning import clean_prompt
from pipelines.damage import READ_ERRORS
from pipelines.diffusiondb.metadata import dropped_by
from pipelines.judging import judge_prompt
from pipelines.names import match_names
from pipelines.options import Conversion
from pipelines.parts import Images, Part
from pipelines.tally import Tally, is_sound
from tf_prompt.data import images
from tf_prompt.data.graphs import compile_function
from tf_prompt.data.records import Record, ShardWriter, shard_path
from tf_prompt.data.split import SPLITS, split_of
from tf_prompt.data.text import MAX_WORDS, split_words
from tf_prompt.files import write_json


class LostRow(Exception):
    """A row that becomes no record; the message is the cause, as in `Tally`."""


def stats_path(folder: str | pathlib.Path, index: int) -> pathlib.Path:
    """Returns the path of a part's stats, which mark its shards as complete.

    Args:
        folder: folder of the shards.
        index: number of the part.
    """
    return pathlib.Path(folder) / f"part-{index:05d}.json"


def fingerprint(part: Part, conversion: Conversion) -> str:
    """Hashes all that a part's shards depend on, so that a restart sees changes.

    Args:
        part: the part.
        conversion: filters, image size and shares of the splits.

    Returns:
        Hexadecimal digits.
    """
    settings = {
        **conversion.as_json(),
        "jpeg_quality": images.JPEG_QUALITY,
        "max_words": MAX_WORDS,
        "part": [part.name, part.size],
    }
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
    # Reading rows that are stored with the images is slow; the part's size must do.
    known = part.columns if part.rows is None else part.read_rows()
    if known is not None:
        digest.update(pd.util.hash_pandas_object(known, index=False).values)
    return digest.hexdigest()


def read_done(
    part: Part, folder: str | pathlib.Path, conversion: Conversion
) -> dict | None:
    """Reads the stats of a part that is done.

    Args:
        part, folder, conversion: as in `convert_part`.

    Returns:
        The earlier result of `convert_part`; None if the part is new, has changed, was
        unreadable, or lacks a shard.
    """
    try:
        stats = json.loads(stats_path(folder, part.index).read_text(encoding="utf-8"))
        same = stats["fingerprint"] == fingerprint(part, conversion)
        readable = not stats["rejected"]["unreadable_part"]
        splits = [split for split in SPLITS if stats["examples"][split]]
        sound = is_sound(stats)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    whole = all(shard_path(folder, s, part.index).is_file() for s in splits)
    return stats if sound and same and readable and whole else None


def remove_part(folder: str | pathlib.Path, index: int) -> None:
    """Removes what an earlier run wrote for a part, the stats first.

    Args:
        folder: folder of the shards.
        index: number of the part.
    """
    stats_path(folder, index).unlink(missing_ok=True)
    for split in SPLITS:
        shard_path(folder, split, index).unlink(missing_ok=True)


def convert_part(
    part: Part,
    folder: str | pathlib.Path,
    conversion: Conversion,
    advance: Callable[[float], object] = lambda share: None,
) -> dict:
    """Writes the shards of a part, then its stats.

    Args:
        part: the part to convert.
        folder: folder for the shards.
        conversion: filters, image size and shares of the splits.
        advance: called with the share of the part that was done since the last
            call, 0-1.

    Returns:
        The stats: `part`, `size`, `fingerprint` and the counts of `Tally`.

    Raises:
        OSError: if the shards cannot be written.
    """
    remove_part(folder, part.index)
    try:
        tally = _write_shards(part, folder, conversion, advance)
    except tf.errors.OpError as error:
        raise OSError(f"cannot write shards in {folder}: {error.message}") from error
    stats = {
        "part": part.name,
        "size": part.size,
        "fingerprint": fingerprint(part, conversion),
        **tally.as_json(),
    }
    write_json(stats_path(folder, part.index), stats)
    return stats


def read_records(
    part: Part,
    conversion: Conversion,
    tally: Tally,
    advance: Callable[[float], object] = lambda share: None,
) -> Iterator[tuple[str, Record]]:
    """Reads the records of a part, in the order of its rows.

    Args:
        part: the part to convert.
        conversion: filters, image size and shares of the splits.
        tally: changed, so that it counts every row.
        advance: as in `convert_part`.

    Returns:
        An iterator of split and record.
    """
    with contextlib.ExitStack() as stack:
        try:
            images_in = stack.enter_context(part.open_images())
            rows = part.read_rows(images_in)
        except READ_ERRORS:
            num_rows = 1 if part.rows is None else max(1, len(part.rows))
            tally.lose("unreadable_part", part.name, num_rows)
            advance(1.0)
            return
        rows = rows.assign(image_name=match_names(rows["image_name"], images_in.names))
        for name in sorted(set(images_in.names).difference(rows["image_name"])):
            tally.lose(part.unlisted, name)
        measures = conversion.aspect == "skip" or (
            conversion.wants_squares and part.measures
        )
        drops = dropped_by(rows, conversion)
        for row, drop in zip(rows.itertuples(index=False), drops, strict=True):
            advance(1 / len(rows))
            try:
                record, cleaned = _convert_row(
                    row, drop, images_in, conversion, measures
                )
            except LostRow as loss:
                tally.lose(str(loss), row.image_name)
                continue
            own_split = getattr(row, "split", "")
            split = own_split or _find_split(row, record, conversion)
            tally.keep(split, record, cleaned, bool(own_split))
            yield split, record


def _convert_row(row, drop, images_in, conversion, measures) -> tuple[Record, bool]:
    prompt = clean_prompt(row.prompt) if conversion.clean_prompts else row.prompt
    words = split_words(prompt)
    judged = judge_prompt(prompt, words, conversion)
    drop = drop or "".join(judged[:1]) or getattr(row, "over", "")
    data = _read_image(images_in, row.image_name, drop)
    _check_header(data, conversion, measures)
    if not words:
        raise LostRow("no_words")
    image = _reencode(data, conversion)
    family, source = getattr(row, "family", ""), getattr(row, "source", "")
    record = Record(row.image_name, image, prompt, words, family, source)
    return record, prompt != row.prompt


def _find_split(row, record: Record, conversion: Conversion) -> str:
    # Near-duplicates share a group, and therefore a split.
    key = getattr(row, "group", "").split() or record.words
    return split_of(key, **conversion.shares)


def _write_shards(part: Part, folder, conversion: Conversion, advance) -> Tally:
    tally = Tally()
    writers: dict[str, ShardWriter] = {}
    with contextlib.ExitStack() as stack:
        for split, record in read_records(part, conversion, tally, advance):
            if split not in writers:
                path = shard_path(folder, split, part.index)
                writers[split] = stack.enter_context(ShardWriter(path))
            writers[split].write(record)
    return tally


def _read_image(images_in: Images, name: str, drop: str) -> bytes:
    if name not in images_in.names:
        raise LostRow("row_without_image")
    if not images_in.is_safe(name):
        raise LostRow("unsafe_member")
    if drop:
        raise LostRow(drop)
    try:
        return images_in.read(name)
    except READ_ERRORS as error:
        raise LostRow("undecodable_image") from error


def _check_header(data: bytes, conversion: Conversion, measures: bool) -> None:
    # Before decoding, because a file of a few kilobytes can claim gigabytes of pixels.
    try:
        # Pillow warns of its own limit, for which we have a flag, and of damaged EXIF.
        with warnings.catch_warnings(action="ignore"):
            with PIL.Image.open(io.BytesIO(data)) as image:
                width, height = image.size
    except PIL.Image.DecompressionBombError as error:
        raise LostRow("too_many_pixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise LostRow("undecodable_image") from error
    if width * height > conversion.max_pixels:
        raise LostRow("too_many_pixels")
    if measures and width != height:
        raise LostRow("not_square")


def _reencode(data: bytes, conversion: Conversion) -> bytes:
    pads = conversion.aspect == "pad"
    try:
        image, constant = _reencoder(conversion.image_size, pads)(data)
    except tf.errors.InvalidArgumentError as error:
        raise LostRow("undecodable_image") from error
    if constant:
        raise LostRow("constant_image")
    return image.numpy()


@functools.cache
def _reencoder(image_size: int, pads: bool):
    def reencode(data):
        decode = images.decode_whole if pads else images.decode_image
        decoded = decode(data, image_size)
        constant = tf.reduce_all(decoded == decoded[:1, :1])
        if pads:
            top, left = tf.unstack((image_size - tf.shape(decoded)[:2]) // 2)
            decoded = tf.image.pad_to_bounding_box(
                decoded, top, left, image_size, image_size
            )
        return tf.io.encode_jpeg(decoded, quality=images.JPEG_QUALITY), constant

    # Traced once: 1.6 times as fast as the same operations one by one.
    return compile_function(reencode, [tf.TensorSpec((), tf.string)])
