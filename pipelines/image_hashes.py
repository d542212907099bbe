"""Finds images that look the same, by perceptual hashes that differ in few bits.

The hash is ImageHash's `phash`: signs of the low frequencies of an image of 32 pixels.
It does not depend on format, size or quality. PDQ (pdqhash) is four times as long, but
must be compiled from source; imagededup needs PyTorch; dhash and blockhash have had no
release for years.
"""

import concurrent.futures
import contextlib
import functools
import io
import multiprocessing
import warnings

import numpy as np
import PIL.Image
import tqdm

from pipelines.damage import READ_ERRORS
from pipelines.groups import find_root, find_roots
from pipelines.names import match_names
from pipelines.parts import Part, Source

try:
    import imagehash
except ImportError:
    imagehash = None

BITS = 64
# Each image is compared with at most so many of its band; only an attack, or a very
# uniform collection, has more.
_NEIGHBOURS = 10_000
_BLOCK = 1_000_000


def hash_images(source: Source, max_pixels: int, processes: int) -> list[np.ndarray]:
    """Hashes every image of a source.

    Args:
        source: the source, whose images are decoded.
        max_pixels: maximum number of pixels of an image; larger ones are not read.
        processes: number of processes; 1 starts no child process.

    Returns:
        list of one uint64 array `(rows,)` per part, in the order of its rows; 0 for a
        row without an image.

    Raises:
        ValueError: if ImageHash is not installed.
    """
    if imagehash is None:
        raise ValueError(
            "group_near_duplicate_images needs an extra: pip install "
            '"tf_prompt[ingest]"'
        )
    hash_part = functools.partial(_hash_part, max_pixels=max_pixels)
    with contextlib.ExitStack() as stack:
        run = map
        if processes > 1 and len(source) > 1:
            context = multiprocessing.get_context("spawn")
            pool = concurrent.futures.ProcessPoolExecutor(processes, context)
            run = stack.enter_context(pool).map
        found = run(hash_part, source.parts())
        return list(tqdm.tqdm(found, "hashing images", len(source), unit=" parts"))


def _hash_part(part: Part, max_pixels: int) -> np.ndarray:
    try:
        with part.open_images() as images:
            rows = part.read_rows(images)
            names = match_names(rows["image_name"], images.names)
            return np.array(
                [_hash_member(images, name, max_pixels) for name in names], np.uint64
            )
    except READ_ERRORS:
        # The error is counted when the part is converted.
        return np.zeros(0, np.uint64)


def _hash_member(images, name: str, max_pixels: int) -> int:
    if name not in images.names or not images.is_safe(name):
        return 0
    try:
        return hash_image(images.read(name), max_pixels)
    except READ_ERRORS:
        return 0


def hash_image(data: bytes, max_pixels: int = 2**26) -> int:
    """Computes the perceptual hash of an encoded image.

    Args:
        data: content of the file.
        max_pixels: maximum number of pixels; larger images are not decoded.

    Returns:
        int of 64 bits; 0 if the image cannot be decoded.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            with PIL.Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > max_pixels:
                    return 0
                # A JPEG can be decoded at an eighth of its size.
                image.draft("L", (BITS, BITS))
                bits = imagehash.phash(image).hash
    except (*READ_ERRORS, SyntaxError, PIL.Image.DecompressionBombError):
        return 0
    return int.from_bytes(np.packbits(bits).tobytes())


def group_hashes(hashes: np.ndarray, most_bits: int) -> np.ndarray:
    """Groups hashes that differ in few bits, directly or through others.

    The bits are divided into `most_bits + 1` bands. Two such hashes agree in at least
    one band, so only hashes with a common band are compared.

    Args:
        hashes: uint64 `(images,)`.
        most_bits: int >= 0, maximum number of bits in which two neighbours differ.

    Returns:
        int `(images,)`, equal for images of the same group.
    """
    unique, place = np.unique(hashes, return_inverse=True)
    roots = np.arange(len(unique))
    for band in np.array_split(np.arange(BITS, dtype=np.uint64), most_bits + 1):
        mask = np.bitwise_or.reduce(np.uint64(1) << band)
        keys = unique & mask
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
        for step in range(1, min(_NEIGHBOURS, len(unique) - 1) + 1):
            here = np.flatnonzero(ranked[step:] == ranked[:-step])
            if not len(here):
                break
            for start in range(0, len(here), _BLOCK):
                block = here[start : start + _BLOCK]
                first, second = order[block], order[block + step]
                _link(unique, first, second, most_bits, roots)
    return find_roots(roots, np.arange(len(unique)))[place]


def _link(hashes, first, second, most_bits: int, roots) -> None:
    near = np.bitwise_count(hashes[first] ^ hashes[second]) <= most_bits
    for i, j in zip(first[near].tolist(), second[near].tolist(), strict=True):
        one, other = sorted((find_root(roots, i), find_root(roots, j)))
        roots[other] = one
