"""The EXIF orientation of image files, read inside a TensorFlow graph."""

import tensorflow as tf

from tf_prompt.data import image_headers

UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
# Files with more parts before the pixels, or more fields, count as upright.
_MAX_PARTS, _MAX_FIELDS = 64, 512
_EXIF = b"Exif\0\0"


def find_orientation(data, magic):
    """Reads the orientation of an image file from its EXIF.

    JPEG (APP1), PNG (eXIf) and WebP (EXIF) are read, in either byte order. Damaged or
    out-of-bounds EXIF is ignored.

    Args:
        data: scalar string tensor or bytes, an encoded image.
        magic: int64 scalar from `image_headers.read_header`.

    Returns:
        int64 scalar in 1-8; 1 is upright.

    Reference: CIPA DC-008 (Exif 2.32), 4.6.2 and 4.6.4 A; the PNG specification,
    third edition, 11.3.4.5; the WebP container specification.
    """
    png, jpeg = magic == image_headers.PNG, magic == image_headers.JPEG
    # Only an extended WebP has further parts.
    webp = (magic == image_headers.RIFF) & (_bytes(data, 12, 4) == b"VP8X")

    def read():
        begin, end = tf.case(
            [(png, lambda: _png(data)), (jpeg, lambda: _jpeg(data))],
            default=lambda: _webp(data),
        )
        return _read_tiff(data, begin, end)

    return tf.cond(png | jpeg | webp, read, lambda: tf.constant(UPRIGHT, tf.int64))


def orient(image, orientation):
    """Rotates and mirrors an image so that it is upright.

    Args:
        image: tensor `(height, width, channels)`.
        orientation: int scalar in 1-8.

    Returns:
        tensor `(height, width, channels)`, or for 5-8 `(width, height, channels)`.
    """

    def turn():
        # First transpose if stored rows are columns of the image, then mirror.
        upright = tf.cond(
            orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image
        )
        mirrored = tf.reduce_any(orientation == tf.constant([2, 3, 6, 7], tf.int64))
        flipped = tf.reduce_any(orientation == tf.constant([3, 4, 7, 8], tf.int64))
        upright = tf.cond(mirrored, lambda: upright[:, ::-1], lambda: upright)
        return tf.cond(flipped, lambda: upright[::-1], lambda: upright)

    return tf.cond(orientation == UPRIGHT, lambda: image, turn)


def _jpeg(data):
    """Start and end of EXIF in a JPEG; both 0 if there is none."""

    def read(place):
        marker = _integer(data, place, 2, True)
        # Only APP0-APP15 and comments may precede the tables, which follow EXIF.
        goes_on = (marker >= 0xFFE0) & (marker <= 0xFFEF) | (marker == 0xFFFE)
        found = (marker == 0xFFE1) & (_bytes(data, place + 4, 6) == _EXIF)
        size = 2 + _integer(data, place + 2, 2, True)
        return found, goes_on, place + 10, place + size

    return _walk(data, 2, read)


def _png(data):
    def read(place):
        name = _bytes(data, place + 4, 4)
        end = place + 8 + _integer(data, place, 4, True)
        # The data are followed by a checksum of four bytes.
        return name == b"eXIf", name != b"IDAT", place + 8, end, 4

    return _walk(data, 8, read)


def _webp(data):
    def read(place):
        size = _integer(data, place + 4, 4, False)
        start = place + 8
        # Some programs write the header of a JPEG's EXIF here too.
        start += 6 * tf.cast(_bytes(data, start, 6) == _EXIF, tf.int64)
        found = _bytes(data, place, 4) == b"EXIF"
        # Parts are padded to even sizes.
        return found, True, start, place + 8 + size, size % 2

    return _walk(data, 12, read)


def _walk(data, start, read):
    """Walks through the parts of a file until one holds EXIF.

    Args:
        data: the file.
        start: int, offset of the first part.
        read: function from a part's offset to whether it holds EXIF, whether another
            part may follow, start and end of its content, and optionally the number of
            bytes between this end and the next part.
    """
    length = tf.cast(tf.strings.length(data), tf.int64)

    def body(place, begin, end):
        found, goes_on, content, stop, *gap = read(place)
        goes_on = goes_on & ~found & (stop > place) & (stop < length)
        begin, end = tf.where(found, content, 0), tf.where(found, stop, 0)
        following = stop + sum(gap)
        return tf.where(goes_on, following, length), begin, end

    zero = tf.constant(0, tf.int64)
    _, begin, end = tf.while_loop(
        lambda place, *_: place < length,
        body,
        (tf.constant(start, tf.int64), zero, zero),
        maximum_iterations=_MAX_PARTS,
    )
    return begin, end


def _read_tiff(data, begin, end):
    """Reads the orientation from EXIF, which is a TIFF structure."""
    tiff = _bytes(data, begin, tf.maximum(end - begin, 0))
    order = _bytes(tiff, 0, 4)
    high_first = order == b"MM\0*"
    known = high_first | (order == b"II*\0")
    fields = _integer(tiff, 4, 4, high_first)
    count = tf.minimum(_integer(tiff, fields, 2, high_first), _MAX_FIELDS)
    table = _raw(_bytes(tiff, fields + 2, 12 * count), 12 * _MAX_FIELDS)
    table = tf.reshape(table, (_MAX_FIELDS, 12))
    # Tag, type (3 is a 16-bit integer), count, and the value in two bytes.
    tags, kinds = _join(table[:, :2], high_first), _join(table[:, 2:4], high_first)
    values = _join(table[:, 8:10], high_first)
    matches = (tags == _ORIENTATION_TAG) & (kinds == 3)
    value = values[tf.argmax(matches)]
    valid = known & tf.reduce_any(matches) & (value >= 1) & (value <= 8)
    return tf.where(valid, value, UPRIGHT)


def _integer(data, place, width, high_first):
    return _join(_raw(_bytes(data, place, width), width), high_first)


def _join(parts, high_first):
    """Combines bytes along the last axis, in either byte order, to int64."""
    powers = 256 ** tf.range(parts.shape[-1], dtype=tf.int64)
    return tf.reduce_sum(parts * tf.where(high_first, powers[::-1], powers), axis=-1)


def _raw(data, width):
    return tf.cast(tf.io.decode_raw(data, tf.uint8, True, width), tf.int64)


def _bytes(data, place, width):
    """Bytes of a string; fewer, or none, if it ends before."""
    length = tf.cast(tf.strings.length(data), tf.int64)
    place = tf.clip_by_value(tf.cast(place, tf.int64), 0, length)
    return tf.strings.substr(data, place, tf.cast(width, tf.int64))
