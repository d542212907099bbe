"""Reads the format and the size of an image file from its first bytes."""

import numpy as np
import tensorflow as tf

from tf_prompt.data import image_faults

JPEG, PNG, GIF, BMP, RIFF = 0xFFD8, 0x8950, 0x4749, 0x424D, 0x5249
MAX_PIXELS = image_faults.MAX_PIXELS

_HEAD = 48
# Names of parts as numbers: IDAT of a PNG, the quantisation tables of a JPEG.
_PIXELS, _TABLES = int.from_bytes(b"IDAT"), 0xFFDB
# Flags of an extended WebP, and their offset.
_ANIMATION, _ALPHA, _FLAGS = 0x02, 0x10, 20
# Numbers in the head: offset, bytes, and whether the highest byte comes first.
# `webp_kind` tells an extended WebP from the two simple kinds.
_NUMBERS = {
    "magic": (0, 2, True),
    "png_second": (37, 4, True),
    "jpeg_second": (20, 2, True),
    "png_width": (16, 4, True),
    "png_height": (20, 4, True),
    "gif_width": (6, 2, False),
    "gif_height": (8, 2, False),
    "bmp_width": (18, 4, False),
    "bmp_height": (22, 4, False),
    "webp_kind": (15, 1, True),
    "webp_width": (24, 3, False),
    "webp_height": (27, 3, False),
    "lossy_width": (26, 2, False),
    "lossy_height": (28, 2, False),
    "lossless_sizes": (21, 4, False),
}


def _number_matrix():
    """The matrix that converts the head's bytes to all numbers at once."""
    matrix = np.zeros((_HEAD, len(_NUMBERS)))
    for column, (start, width, high_first) in enumerate(_NUMBERS.values()):
        for index in range(width):
            place = start + (width - 1 - index if high_first else index)
            matrix[place, column] = 256.0**index
    return matrix


_MATRIX = _number_matrix()


def find_plain(data):
    """Recognises files that only need decoding, in few operations.

    Args:
        data: as in `read_header`.

    Returns:
        kind: int32 scalar: 1 for a PNG whose pixels follow its header directly, 2 for
            a JPEG whose tables follow the usual first 20 bytes, 0 for others.
        pixels: int64 scalar, as in `read_header`, for kind 1.
    """
    found = _read_numbers(data)
    png = (found["magic"] == PNG) & (found["png_second"] == _PIXELS)
    jpeg = (found["magic"] == JPEG) & (found["jpeg_second"] == _TABLES)
    kind = tf.cast(png, tf.int32) + 2 * tf.cast(jpeg, tf.int32)
    return kind, found["png_width"] * found["png_height"]


def count_jpeg(data):
    """Reads width times height of a JPEG, int64 scalar; raises like `read_header`."""
    return tf.reduce_prod(tf.io.extract_jpeg_shape(data, tf.int64)[:2])


def read_header(data):
    """Reads format and size, without decoding.

    Args:
        data: scalar string tensor or bytes, an encoded image.

    Returns:
        magic: int64 scalar, `JPEG`, `PNG`, `GIF`, `BMP`, `RIFF` or another number.
        pixels: int64 scalar, width times height; 0 for other formats. A broken header
            gives any number.

    Raises:
        tf.errors.InvalidArgumentError: if `data` starts like a JPEG but has no valid
            header.
    """
    found = _read_numbers(data)
    magic = found["magic"]
    # The height of a BMP stored from top to bottom is negative.
    bmp_height = tf.minimum(found["bmp_height"], 2**32 - found["bmp_height"])
    pixels = tf.case(
        [
            (magic == PNG, lambda: found["png_width"] * found["png_height"]),
            (magic == JPEG, lambda: count_jpeg(data)),
            (magic == RIFF, lambda: _count_webp(found)),
            (magic == GIF, lambda: found["gif_width"] * found["gif_height"]),
            (magic == BMP, lambda: found["bmp_width"] * bmp_height),
        ],
        default=lambda: tf.constant(0, tf.int64),
    )
    return magic, pixels


def announce_alpha(data):
    """Sets the alpha flag of an animated WebP, whose decoded frames have alpha.

    TensorFlow 2.21 allocates three channels if the header says so but writes four, and
    so overwrites other memory: the process may crash, or worse.

    Args:
        data: as in `read_header`, of a WebP of any kind.

    Returns:
        The data; of an animation without alpha, with the flag set.
    """
    head = tf.strings.substr(data, 0, _FLAGS + 1)
    flags = tf.io.decode_raw(head, tf.uint8, True, _FLAGS + 1)[_FLAGS]
    # If the head is shorter, the flags are zero.
    kind = tf.strings.substr(head, tf.minimum(12, tf.strings.length(head)), 4)
    animated = (kind == b"VP8X") & (tf.bitwise.bitwise_and(flags, _ANIMATION) > 0)
    every_flag = tf.constant([bytes([number]) for number in range(256)])
    flag = every_flag[tf.cast(tf.bitwise.bitwise_or(flags, _ALPHA), tf.int32)]

    def join():
        rest = tf.strings.substr(data, _FLAGS + 1, tf.strings.length(data))
        return tf.strings.join([tf.strings.substr(data, 0, _FLAGS), flag, rest])

    return tf.cond(animated, join, lambda: tf.convert_to_tensor(data))


def _read_numbers(data):
    head = tf.io.decode_raw(tf.strings.substr(data, 0, _HEAD), tf.uint8, True, _HEAD)
    # One product in place of a dozen slices: this runs for each training image.
    row = tf.linalg.matvec(_MATRIX, tf.cast(head, tf.float64), transpose_a=True)
    numbers = tf.unstack(tf.cast(row, tf.int64))
    return dict(zip(_NUMBERS, numbers, strict=True))


def _count_webp(found):
    """Width times height of the three kinds of WebP, told by their fourth letter."""
    sizes = found["lossless_sizes"]
    lossless = (sizes % 2**14 + 1) * (sizes // 2**14 % 2**14 + 1)
    lossy = (found["lossy_width"] % 2**14) * (found["lossy_height"] % 2**14)
    parts = (found["webp_width"] + 1) * (found["webp_height"] + 1)
    kind = found["webp_kind"]
    return tf.where(
        kind == ord("L"), lossless, tf.where(kind == ord("X"), parts, lossy)
    )
