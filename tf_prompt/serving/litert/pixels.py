"""Decodes and resizes images as `data.images` does, without TensorFlow."""

import io
import warnings

import numpy as np
import PIL.Image
import PIL.ImageOps

from tf_prompt.data.image_faults import MAX_PIXELS

# Formats that `data.images` decodes; Pillow knows more.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
# Fields that Pillow would also read as EXIF, but `data.exif` does not.
_NOT_EXIF = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif")


def decode_image(data: bytes, size: int) -> np.ndarray:
    """Decodes one image and makes it a square of a given size.

    It equals `data.images.decode_image` to one grey level, apart from differences
    between the JPEG decoders: the largest centred square of the upright image is
    resized with an antialiasing filter, and the colours under transparency are kept.

    Args:
        data: an encoded PNG, JPEG, WebP, BMP, or GIF, of which the first frame counts.
        size: int > 0, side of the square in pixels.

    Returns:
        uint8 `(size, size, 3)`, RGB, 0-255.

    Raises:
        ValueError: if it is no such image, or has more than `MAX_PIXELS` pixels.
    """
    try:
        # What Pillow warns of is checked here or decoded.
        with warnings.catch_warnings(action="ignore"):
            with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError("too many pixels")
                for name in _NOT_EXIF:
                    image.info.pop(name, None)
                upright = PIL.ImageOps.exif_transpose(image)
                return np.asarray(_fit(_to_rgb(upright), size))
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def _to_rgb(image):
    if image.mode.startswith("I"):
        # The upper 8 of 16 bits are used; Pillow would clip values at 255.
        high = np.asarray(image, np.int32) >> 8
        return PIL.Image.fromarray(high.astype(np.uint8)).convert("RGB")
    if image.mode in ("P", "PA"):
        # Through RGBA, because a transparent colour could change otherwise.
        image = image.convert("RGBA")
    return image.convert("RGB")


def _fit(image, size):
    width, height = image.size
    if (width, height) == (size, size):
        return image
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    # Not with `box` of `resize`, whose filter also reads pixels around the square.
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), PIL.Image.Resampling.BILINEAR)
