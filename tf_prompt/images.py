"""Decode, crop, resize: the one image contract of training and serving."""

import pathlib

import tensorflow as tf

IMAGE_SIZE = 224
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Image files that TensorFlow cannot read: named as failures, not passed over.
FOREIGN_SUFFIXES = (".heic", ".heif", ".avif")
JPEG_QUALITY = 95


def decode_image(data, size: int):
    """Decodes one image and makes it a square of a given size.

    The largest centred square is kept, then resized with an antialiasing
    bilinear filter. A picture that already has the size is left as it is.

    Args:
        data: scalar string tensor or bytes, an encoded PNG, JPEG or WebP.
            Transparency is ignored.
        size: int > 0, pixels a side.

    Returns:
        uint8 tensor `(size, size, 3)`, RGB, 0-255.

    Raises:
        tf.errors.InvalidArgumentError: if `data` is not an image.
    """
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    shape = tf.shape(image)
    resized = tf.cond(
        tf.reduce_all(shape[:2] == size),
        lambda: image,
        lambda: resize_square(image, size),
    )
    return tf.ensure_shape(resized, (size, size, 3))


def resize_square(image, size: int):
    """Crops an image to its largest centred square, and resizes that.

    Args:
        image: uint8 tensor `(height, width, 3)`.
        size: int > 0, pixels a side.

    Returns:
        uint8 tensor `(size, size, 3)`.
    """
    shape = tf.shape(image)
    side = tf.minimum(shape[0], shape[1])
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    # Without antialias, bilinear resizing to less than half skips pixels.
    resized = tf.image.resize(square, (size, size), antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)


def encode_jpeg(image) -> bytes:
    """Encodes a uint8 image `(height, width, 3)`; nothing but pixels is kept."""
    return tf.io.encode_jpeg(image, quality=JPEG_QUALITY).numpy()


def find_images(paths, recursive: bool = False) -> list[pathlib.Path]:
    """Lists the image files among files and in folders, in order of name.

    Args:
        paths: files, taken as they are, and folders, searched for the endings
            in `SUFFIXES` and `FOREIGN_SUFFIXES` in either case.
        recursive: whether folders inside folders are searched too.

    Returns:
        Paths of files.

    Raises:
        FileNotFoundError: if a path does not exist, or a folder holds no image.
    """
    found = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            entries = path.rglob("*") if recursive else path.iterdir()
            endings = SUFFIXES + FOREIGN_SUFFIXES
            images = sorted(e for e in entries if e.suffix.lower() in endings)
            if not images:
                raise FileNotFoundError(
                    f"PATH must hold images ({' '.join(SUFFIXES)}). Received: {path}"
                )
            found.extend(images)
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(
                f"PATH must be a file or a folder. Received: {path}"
            )
    return found
