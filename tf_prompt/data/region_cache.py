"""Features of a frozen backbone, computed once and stored beside the shards."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import sys
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import cluster, images, records
from tf_prompt.data.graphs import as_written, without_tuning
from tf_prompt.files import read_entries, replacing, write_json

INDEX = "features.json"
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Features:
    """The files with the regions of a split's images.

    Args:
        paths: one row per shard, in the order of `records.list_shards`, with one file
            per view. A file holds the shard's images in order, float16.
        shape: `(regions, depth)` of one image.
    """

    paths: Sequence[Sequence[str]]
    shape: tuple[int, int]

    def read(self, seed):
        """Reads the regions of one random view per image.

        Args:
            seed: int or int tensor; with the image's place it determines the view.

        Returns:
            A function of an example and its place, int64 `(2,)`: shard and record.
            It drops `image` and adds `regions`, float16.
        """
        num_views = len(self.paths[0])

        def transform(example, place):
            # A function of seed and place alone: a resumed run sees the same views.
            view = tf.random.stateless_uniform(
                (),
                tf.stack([tf.cast(seed, tf.int64), place[0] * 2**32 + place[1]]),
                maxval=num_views,
                dtype=tf.int64,
            )
            # Records are read at their offsets: all views of an image in one record
            # would make an epoch read all of them.
            regions = tf.numpy_function(self._load, [place, view], tf.float16)
            kept = {k: v for k, v in example.items() if k != "image"}
            return {**kept, "regions": tf.ensure_shape(regions, self.shape)}

        return transform

    def _load(self, place, view):
        size = int(np.prod(self.shape))
        path = self.paths[place[0]][view]
        start = int(place[1]) * size * np.dtype(np.float16).itemsize
        return np.fromfile(path, np.float16, size, offset=start).reshape(self.shape)


def cached_features(
    folder: str | pathlib.Path,
    split: str,
    extract: Callable,
    *,
    signature: dict,
    image_size: int,
    shape: tuple[int, int],
    num_views: int = 1,
    send: Callable[[pathlib.Path], Callable[[], Callable]] | None = None,
) -> Features:
    """Returns the regions of a split's images, computing those that are missing.

    They are in `FOLDER/features/KEY`, one file per shard and view; KEY depends on
    `signature`, not on the number of views, so that existing views are kept. Files are
    written atomically, and computed again if their shard has changed. The size to be
    written is reported on stderr first. If `TF_PROMPT_SCHEDULER` names a Dask
    scheduler and `send` is given, its workers compute them, a file at a time.

    Args:
        folder: folder of shards.
        split: one of `split.SPLITS`.
        extract: function from images, uint8 `(batch, image_size, image_size, 3)`, and a
            pair of ints that seeds their augmentation, to float `(batch, *shape)`.
        signature: JSON-compatible dict of all that the result depends on, besides the
            images.
        image_size: side of the images in pixels.
        shape: `(regions, depth)` of one image.
        num_views: number of files per shard, each with its own seeds.
        send: function from the folder of the files to a function that is sent to the
            workers, where it returns `extract`.

    Raises:
        FileNotFoundError: if the split has no shards.
        OSError: see `cluster.run`.
        ValueError: if a value does not fit float16.
    """
    shards = records.list_shards(folder, split)
    digest = hashlib.blake2b(repr(sorted(signature.items())).encode(), digest_size=6)
    output = pathlib.Path(folder) / "features" / digest.hexdigest()
    output.mkdir(parents=True, exist_ok=True)
    index = _read_index(output)
    missing = [
        (shard, view)
        for view in range(num_views)
        for shard in shards
        if not _is_done(_path(output, shard, view), shard, index)
    ]
    if missing:
        total = sum(records.count_records(shard) for shard, _ in missing)
        _tell_size(output, total, shape)
        write = functools.partial(
            _write_file, output=output.resolve(), shape=shape, image_size=image_size
        )
        with tqdm.tqdm(total=total, desc=f"features of {split}", unit="image") as bar:
            done = _write_files(write, missing, extract, send, output, bar)
            _list_files(done, output, signature)
    paths = [[str(_path(output, s, v)) for v in range(num_views)] for s in shards]
    return Features(paths, tuple(shape))


def bytes_of(num_images: int, shape: tuple[int, int]) -> int:
    """Returns the disk space in bytes for the regions of images.

    Args:
        num_images: number of images, or of their views.
        shape: `(regions, depth)` of one image.
    """
    return num_images * int(np.prod(shape)) * np.dtype(np.float16).itemsize


def _tell_size(output, num_images, shape):
    size = bytes_of(num_images, shape)
    print(
        f"features: {num_images} views of images need {size / 1e9:.3g} GB in {output}",
        file=sys.stderr,
    )


# Traced once, not once per shard.
@functools.cache
def _decoder(image_size):
    return tf.function(
        lambda record: images.decode_stored(records.parse(record)["image"], image_size),
        input_signature=[tf.TensorSpec((), tf.string)],
        autograph=False,
    )


@as_written
def _decode(shard, image_size):
    decoded = tf.data.TFRecordDataset(shard).map(_decoder(image_size), tf.data.AUTOTUNE)
    return without_tuning(decoded.batch(_BATCH).prefetch(1))


def _list_files(done, output, signature):
    for shard, view in done:
        # Read it again, because another process may have written others.
        index = _read_index(output)
        index[_path(output, shard, view).name] = _size(shard)
        write_json(output / INDEX, {"signature": signature, "shards": index})


def _write_files(write, missing, extract, send, output, bar):
    scheduler = cluster.address()
    if not (scheduler and send):
        for place in missing:
            write(place, extract, advance=bar.update)
            yield place
        return
    on_worker = functools.partial(_write_on_worker, write=write, build=send(output))
    places = [(os.path.abspath(shard), view) for shard, view in missing]
    for place, num_images in cluster.run(on_worker, places, scheduler):
        bar.update(num_images)
        yield place


def _write_on_worker(place, write, build) -> int:
    return write(place, build())


def _write_file(
    place, extract, output, shape, image_size, advance=lambda num_images: None
) -> int:
    path, num_images = _path(output, *place), 0
    # The name contains shard and view, so that each file has its own seed.
    seed = zlib.crc32(path.name.encode())
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for number, batch in enumerate(_decode(place[0], image_size)):
            with np.errstate(over="ignore"):
                regions = np.float16(extract(batch, (seed, number)))
            if not np.isfinite(regions).all():
                raise ValueError(
                    "cache_features stores float16, so regions must stay below "
                    f"65504. Received: {path.name}"
                )
            file.write(regions.reshape(-1, *shape).tobytes())
            num_images += len(regions)
            advance(len(regions))
    return num_images


def _path(output, shard, view) -> pathlib.Path:
    return output / f"{pathlib.Path(shard).stem}.view-{view}.float16"


def _read_index(output) -> dict:
    path = output / INDEX
    return read_entries(path, "shards") if path.is_file() else {}


def _is_done(path, shard, index) -> bool:
    return index.get(path.name) == _size(shard) and path.is_file()


def _size(shard) -> int:
    return pathlib.Path(shard).stat().st_size
