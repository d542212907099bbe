"""Finds images that look the same, by perceptual hashes that differ in few bits.

The hash is ImageHash's `phash`: signs of the low frequencies of a 32 pixel picture. It
survives another format, size or quality. PDQ (pdqhash) is four times as long, but
must be compiled from source; imagededup brings PyTorch; dhash and blockhash have
had no release for years.
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
# Images of one band that each is compared with; there are so many only where an
# attacker, or a very dull collection, has made them.
_NEIGHBOURS = 10_000
_BLOCK = 1_000_000


def hash_images(source: Source, max_pixels: int, processes: int) -> list[np.ndarray]:
    """Hashes every image of a source.

    Args:
        source: its images are decoded.
        max_pixels: of an image; a larger one is not read.
        processes: how many work at once; one works here, without a child.

    Returns:
        For each part uint64 `(rows,)`, in the order of its rows; 0 where
        there is no image.

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
        # Which is counted where the part is converted.
        return np.zeros(0, np.uint64)


def _hash_member(images, name: str, max_pixels: int) -> int:
    if name not in images.names or not images.is_safe(name):
        return 0
    try:
        return hash_image(images.read(name), max_pixels)
    except READ_ERRORS:
        return 0


def hash_image(data: bytes, max_pixels: int = 2**26) -> int:
    """Gives the perceptual hash of an encoded image; 0 if it cannot be decoded."""
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
    """Joins hashes that differ in few bits, over any number of steps.

    The bits are divided into `most_bits + 1` bands. Two such hashes agree in at least
    one band, so only hashes with a common band are compared.

    Args:
        hashes: uint64 `(images,)`.
        most_bits: int >= 0, bits in which two neighbours may differ.

    Returns:
        int `(images,)`, equal for images of one group.
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
