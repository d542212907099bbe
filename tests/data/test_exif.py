"""Pictures of any EXIF orientation, against Pillow's own way of turning them."""

import io
import struct

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from tf_prompt.data import exif, image_headers, images

# Blocks of colour, 16 pixels each, so that JPEG keeps them: no two sides are alike.
BLOCKS = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]]], np.uint8)
PICTURE = BLOCKS.repeat(16, axis=0).repeat(16, axis=1)
FORMATS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}


def tiff(order, fields):
    """An EXIF block; `fields` are pairs of tag and 16-bit value."""
    mark = {"<": b"II", ">": b"MM"}[order]
    table = b"".join(
        struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in fields
    )
    head = struct.pack(f"{order}HIH", 42, 8, len(fields))
    return mark + head + table + struct.pack(f"{order}I", 0)


def encode(image_format, block, **options):
    file = io.BytesIO()
    options = {**FORMATS[image_format], **options}
    if block is not None:
        options["exif"] = b"Exif\0\0" + block
    PIL.Image.fromarray(PICTURE).save(file, image_format, **options)
    return file.getvalue()


def orientation_of(data):
    magic, _ = image_headers.read_header(data)
    return int(exif.find_orientation(tf.constant(data), magic))


def test_pictures_are_turned_as_pillow_turns_them():
    """Each format, orientation and byte order, eagerly and in one graph."""
    encoded = [
        encode(image_format, tiff(order, [(0x010F, 7), (0x0112, n), (0x0213, 1)]))
        for image_format in FORMATS
        for n in range(1, 9)
        for order in "<>"
    ]
    opened = (PIL.Image.open(io.BytesIO(data)) for data in encoded)
    expected = [PIL.ImageOps.exif_transpose(image).convert("RGB") for image in opened]
    decoded = tf.data.Dataset.from_tensor_slices(encoded).map(
        lambda data: images.decode_image(data, 32)
    )
    for data, in_graph, picture in zip(encoded, decoded, expected, strict=True):
        for found in (in_graph, images.decode_image(data, 32)):
            difference = np.asarray(found, int) - np.asarray(picture, int)
            assert np.abs(difference).max() <= 8


@pytest.mark.parametrize("orientation", [6, 8])
def test_an_oblong_picture_is_turned_before_it_is_cropped(orientation):
    picture = np.zeros((32, 96, 3), np.uint8)
    picture[:, 32:64] = 200
    turned = exif.orient(tf.constant(picture), tf.constant(orientation, tf.int64))
    assert turned.shape == (96, 32, 3)
    assert np.asarray(images.resize_square(turned, 8)).min() == 200


def test_exif_behind_other_parts_is_found():
    block = tiff(">", [(0x0112, 3)])
    jpeg = encode("JPEG", block, comment=b"before", icc_profile=b"p" * 300)
    assert orientation_of(jpeg) == 3
    png = encode("PNG", block, icc_profile=b"p" * 300)
    assert orientation_of(png) == 3


@pytest.mark.parametrize(
    "block",
    [
        None,
        b"",
        b"II*\0",
        b"XX*\0" + tiff("<", [(0x0112, 6)])[4:],
        tiff("<", [(0x0112, 0)]),
        tiff("<", [(0x0112, 9)]),
        tiff("<", [(0x0111, 6)]),
        tiff("<", [(0x0112, 6)])[:16],
        b"II*\0\xff\xff\xff\xff" + bytes(20),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(20),
        tiff("<", [(0x0112, 6)]).replace(b"\x03\0", b"\x02\0", 1),
    ],
    ids=[
        "none",
        "empty",
        "short",
        "no byte order",
        "zero",
        "nine",
        "another tag",
        "cut",
        "far away",
        "many fields",
        "text",
    ],
)
@pytest.mark.parametrize("image_format", FORMATS)
def test_what_is_damaged_is_upright(image_format, block):
    assert orientation_of(encode(image_format, block)) == 1


def test_noise_gives_an_orientation_all_the_same():
    """No bytes after the first make it fail, or run on."""
    random = np.random.default_rng(0)
    for magic in [b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8X"]:
        number = tf.constant(int.from_bytes(magic[:2], "big"), tf.int64)
        for length in [0, 1, 3, 40, 300, 5000]:
            data = magic + random.bytes(length)
            assert 1 <= exif.find_orientation(tf.constant(data), number) <= 8


def test_parts_that_never_end_are_left():
    data = b"\xff\xd8" + b"\xff\xe2\x00\x02" * 100_000
    magic = tf.constant(image_headers.JPEG, tf.int64)
    assert exif.find_orientation(tf.constant(data), magic) == 1
