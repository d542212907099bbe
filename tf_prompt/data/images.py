"""Decoding, cropping and resizing of images, the same in training and serving."""

from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.data import exif, image_headers
from tf_prompt.data.graphs import as_written, without_tuning

IMAGE_SIZE = 224
# Size for checking whether a file is an image at all.
_CHECK_SIZE = 32
JPEG_QUALITY = 95
# Filters for resizing: ours, and the one that CLIP was trained with.
BILINEAR, BICUBIC = "bilinear", "bicubic"

_DECODED_AT_ONCE = 8


def decode_image(data, size: int, resizing: str = BILINEAR):
    """Decodes one image and makes it a square of a given size.

    It is turned upright, as its EXIF says; then the largest centred square is kept
    and resized with an antialiasing filter. An image that already has the size is
    left as it is. If a channel has 16 bits, the upper 8 are used.

    Args:
        data: scalar string tensor or bytes, an encoded PNG, JPEG, WebP, BMP, or
            GIF, of which the first frame is taken. Transparency is ignored: the colours
            under it are kept.
        size: int > 0, side of the square in pixels.
        resizing: `BILINEAR`, which all our training uses, or `BICUBIC`.

    Returns:
        uint8 tensor `(size, size, 3)`, RGB, 0-255.

    Raises:
        tf.errors.InvalidArgumentError: if `data` is not an image, or has more than
            `image_headers.MAX_PIXELS` pixels.
    """
    return _fit(_decode(data), size, resizing)


def decode_whole(data, size: int):
    """Decodes one image and resizes it uncropped, so that its longer side has a size.

    Args:
        data: as in `decode_image`.
        size: int > 0, the longer side in pixels.

    Returns:
        uint8 tensor `(height, width, 3)`, RGB, 0-255; the shorter side has at least
        one pixel.

    Raises:
        tf.errors.InvalidArgumentError: as `decode_image`.
    """
    image = _decode(data)
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    target = tf.round(shape * size / tf.reduce_max(shape))
    target = tf.maximum(tf.cast(target, tf.int32), 1)
    resized = tf.image.resize(image, target, antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)


def decode_stored(data, size: int):
    """Decodes the image of a record, which `write_records` has made upright.

    It equals `decode_image` there, but an iterator over records starts in a tenth of
    the time, because tf.data inspects the whole graph each time.

    Args:
        data, size: as in `decode_image`.

    Returns:
        As `decode_image`, but ignores EXIF and the alpha channel of WebP.

    Raises:
        tf.errors.InvalidArgumentError: as `decode_image`.
    """
    _, pixels = image_headers.read_header(data)
    return _fit(_decode_within(data, pixels, 3), size)


@as_written
def decode_batch(image_bytes, sizes: Sequence[int]):
    """Decodes a batch of images in a graph; broken ones do not affect the others.

    Args:
        image_bytes: string tensor `(batch,)`, each as in `decode_image`.
        sizes: one or several sides in pixels.

    Returns:
        images: for each size, uint8 `(batch, size, size, 3)`; broken images are black.
        sound: bool `(batch,)`, whether the image could be decoded.
    """
    batch = tf.shape(image_bytes)[0]
    dataset = tf.data.Dataset.from_tensor_slices((tf.range(batch), image_bytes))
    dataset = dataset.map(
        lambda row, data: (row, *_fit_all(_decode(data), sizes)),
        num_parallel_calls=_DECODED_AT_ONCE,
    )
    # Nothing else in TensorFlow continues after a failed operation. The extra row is
    # for a batch in which all images fail.
    blank = [tf.zeros((size, size, 3), tf.uint8) for size in sizes]
    dataset = dataset.ignore_errors()
    dataset = dataset.concatenate(tf.data.Dataset.from_tensors((batch, *blank)))
    dataset = dataset.batch(tf.cast(batch + 1, tf.int64))
    rows, *found = without_tuning(dataset).get_single_element()
    # The index of each row of the batch among the decoded ones; the last is blank.
    place = tf.fill([batch + 1], tf.shape(rows)[0] - 1)
    order = tf.range(tf.shape(rows)[0])
    place = tf.tensor_scatter_nd_update(place, rows[:, None], order)[:batch]
    return [tf.gather(images, place) for images in found], place < order[-1]


def is_image(data: bytes) -> bool:
    """Whether the content of a file can be decoded as an image."""
    try:
        decode_image(data, _CHECK_SIZE)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def blank(sound, *values):
    """Replaces the outputs for broken images by empty strings and NaN.

    Args:
        sound: bool tensor `(batch, …)`.
        *values: string or float tensors whose first axes are those of `sound`.

    Returns:
        list of the values, replaced where `sound` is False.
    """
    blanked = []
    for value in values:
        rank = value.shape.rank - sound.shape.rank
        mask = tf.reshape(
            sound, tf.concat([tf.shape(sound), tf.ones([rank], tf.int32)], axis=0)
        )
        nothing = "" if value.dtype == tf.string else float("nan")
        blanked.append(tf.where(mask, value, tf.constant(nothing, value.dtype)))
    return blanked


def _decode(data):
    kind, pixels = image_headers.find_plain(data)
    return tf.switch_case(
        kind,
        [
            lambda: _decode_unusual(data),
            lambda: _decode_within(data, pixels, 3),
            lambda: _decode_within(data, image_headers.count_jpeg(data), 3),
        ],
    )


# Not inlined, because TensorFlow visits every operation of a branch not taken, which
# would double the time for a small JPEG.
@tf.function(
    input_signature=[tf.TensorSpec((), tf.string)],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def _decode_unusual(data):
    magic, pixels = image_headers.read_header(data)
    # TensorFlow 2.21 can decode a WebP with alpha only with its alpha.
    image = tf.cond(
        magic == image_headers.RIFF,
        lambda: _decode_within(image_headers.announce_alpha(data), pixels, 0),
        lambda: _decode_within(data, pixels, 3),
    )
    return exif.orient(image, exif.find_orientation(data, magic))


def _decode_within(data, pixels, channels):
    """Decodes an image unless it has too many pixels, before allocating memory."""
    limit = image_headers.MAX_PIXELS
    # Not tf.debugging, which would add a branch.
    small = tf.raw_ops.Assert(
        condition=pixels <= limit, data=[f"an image has at most {limit} pixels"]
    )
    with tf.control_dependencies([] if small is None else [small]):
        image = tf.io.decode_image(data, channels=channels, expand_animations=False)
    if not channels:
        image = tf.ensure_shape(image, (None, None, None))[..., :3]
    return tf.ensure_shape(image, (None, None, 3))


def _fit_all(image, sizes):
    return [_fit(image, size) for size in sizes]


def _fit(image, size, resizing=BILINEAR):
    shape = tf.shape(image)
    resized = tf.cond(
        tf.reduce_all(shape[:2] == size),
        lambda: image,
        lambda: resize_square(image, size, resizing),
    )
    return tf.ensure_shape(resized, (size, size, 3))


def resize_square(image, size: int, resizing: str = BILINEAR):
    """Crops an image to its largest centred square and resizes it.

    Args:
        image: uint8 tensor `(height, width, 3)`.
        size: int > 0, side of the square in pixels.
        resizing: `BILINEAR` or `BICUBIC`.

    Returns:
        uint8 tensor `(size, size, 3)`.
    """
    shape = tf.shape(image)
    side = tf.minimum(shape[0], shape[1])
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    # Without antialias, bilinear resizing to less than half skips pixels.
    resized = tf.image.resize(square, (size, size), resizing, antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)


def encode_jpeg(image) -> bytes:
    """Encodes a uint8 image `(height, width, 3)` as JPEG, without metadata."""
    return tf.io.encode_jpeg(image, quality=JPEG_QUALITY).numpy()
