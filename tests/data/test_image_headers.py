"""Sizes of image files, read without decoding them."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tf_prompt.data import image_headers, images


@pytest.mark.parametrize(
    "image_format, mode, options",
    [
        ("PNG", "RGB", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True, "exif": b"Exif\0\0II*\0"}),
    ],
)
def test_pixels_are_counted(image_format, mode, options):
    file = io.BytesIO()
    PIL.Image.new(mode, (300, 71)).save(file, image_format, **options)
    _, pixels = image_headers.read_header(file.getvalue())
    assert pixels == 300 * 71


@pytest.mark.parametrize("data", [b"", b"\x89", b"GIF89a", b"RIFF", b"text " * 20])
def test_a_short_header_gives_a_number(data):
    assert image_headers.read_header(data)[1] >= 0


def claim(width, height):
    """A PNG whose header claims a size that its few bytes do not fill."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(8001, 8000), (13_000, 13_000), (2**31 - 1, 1)])
def test_a_huge_image_is_refused_by_its_header(size):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 64000000"):
        images.decode_image(claim(*size), 8)


def test_an_image_of_the_most_pixels_is_read(monkeypatch):
    monkeypatch.setattr(image_headers, "MAX_PIXELS", 64)
    picture = tf.io.encode_png(np.zeros((8, 8, 3), np.uint8))
    assert images.decode_image(picture, 4).shape == (4, 4, 3)
    picture = tf.io.encode_png(np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 64 pixels"):
        images.decode_image(picture, 4)
