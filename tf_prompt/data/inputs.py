"""Converts images of any supported kind to encoded bytes."""

import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import PIL.Image

KINDS = "a path, bytes of a file, a PIL image or a uint8 array (height, width, 3)"


def encode_images(images) -> list[bytes]:
    """Converts one image or several, of various kinds, to encoded bytes.

    Args:
        images: a path, the bytes of an image file, a `PIL.Image.Image`, or a uint8
            array or tensor `(height, width, 3)`, 0-255; or a sequence of these, or
            uint8 `(batch, height, width, 3)`.

    Returns:
        list of the content of an image file for each; decoded images become PNGs.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: for another kind, or no image at all; the message says which of
            several images it is.
    """
    many = _as_sequence(images)
    if not len(many):
        raise ValueError("images must hold at least one. Received: none")
    return [_encode(image, index) for index, image in enumerate(many)]


def _as_sequence(images) -> Sequence:
    if isinstance(images, (str, os.PathLike, bytes, bytearray, PIL.Image.Image)):
        return [images]
    rank = getattr(getattr(images, "shape", None), "__len__", lambda: None)()
    return [images] if rank == 3 else images


def _encode(image, index: int) -> bytes:
    if isinstance(image, (bytes, bytearray)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return pathlib.Path(image).expanduser().read_bytes()
    if not isinstance(image, PIL.Image.Image):
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(
                f"images[{index}] must be {KINDS}. "
                f"Received: {type(image).__name__} {pixels.dtype} {pixels.shape}"
            )
        image = PIL.Image.fromarray(pixels)
    buffer = io.BytesIO()
    # As a PNG, so that palettes, transparency and grey are treated as in files.
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
