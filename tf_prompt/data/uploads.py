"""Checks uploads, so that only images of reasonable size are decoded."""

import io
import warnings

import PIL.Image

from tf_prompt.data import image_faults, images, listing

# 50 megapixels are 150 MB once decoded; a small file can claim far more.
MAX_PIXELS = 50_000_000


def check_image(data: bytes, name: str) -> None:
    """Rejects a file that is not an image that the models can read.

    Args:
        data: content of the file.
        name: the file's name, for the message.

    Raises:
        ValueError: with a message for the visitor.
    """
    check_header(data, name)
    if not images.is_image(data):
        raise ValueError(_refusal(data, name))


def check_header(data: bytes, name: str, max_pixels: int | None = None) -> None:
    """Rejects a file whose header is not that of an image, or claims too many pixels.

    Args:
        data: content of the file; its pixels are not decoded.
        name: the file's name, for the message.
        max_pixels: largest width times height; `MAX_PIXELS` if not given.

    Raises:
        ValueError: with a message for the visitor.
    """
    max_pixels = max_pixels or MAX_PIXELS
    kind = image_faults.find_foreign(data)
    if kind in ("HEIC", "AVIF"):
        raise ValueError(f"{name} is a {kind} picture. Save it as JPEG or PNG.")
    try:
        # Reads the header alone; what Pillow warns of is checked here or decoded.
        with warnings.catch_warnings(action="ignore"):
            with PIL.Image.open(io.BytesIO(data)) as image:
                width, height = image.size
    except PIL.Image.DecompressionBombError:
        width = height = max_pixels
    except (OSError, ValueError, SyntaxError):
        raise ValueError(_refusal(data, name)) from None
    if width * height > max_pixels:
        raise ValueError(
            f"{name} is too large: at most {max_pixels // 1_000_000} megapixels."
        )


def _refusal(data, name):
    endings = ", ".join(suffix.removeprefix(".") for suffix in listing.SUFFIXES)
    fault = image_faults.find_fault(data)
    return f"{name} is not a picture that can be read ({endings}): {fault}."
