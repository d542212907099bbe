"""Images for LiteRT files equal those of training, to one grey level."""

import io

import numpy as np
import PIL.Image
import pytest

from tf_prompt.data import images
from tf_prompt.serving.litert import pixels


def draw(width, height, mode="RGB"):
    """A smooth picture with some noise, as photographs have it."""
    random = np.random.default_rng(width * height)
    small = random.integers(0, 256, (6, 5, 3)).astype(np.uint8)
    image = PIL.Image.fromarray(small).resize((width, height), PIL.Image.BICUBIC)
    noisy = np.asarray(image, float) + random.normal(0, 12, (height, width, 3))
    return PIL.Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def encode(image, kind="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(data, size=32):
    ours = pixels.decode_image(data, size)
    assert ours.shape == (size, size, 3) and ours.dtype == np.uint8
    theirs = images.decode_image(data, size).numpy()
    return np.abs(ours.astype(int) - theirs).max()


@pytest.mark.parametrize(
    "width, height", [(512, 512), (300, 200), (201, 333), (32, 32), (20, 17), (1, 50)]
)
def test_any_size_is_resized_as_in_training(width, height):
    assert difference(encode(draw(width, height))) <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_any_colours_are_read_as_in_training(mode):
    assert difference(encode(draw(64, 48, mode))) <= 1


@pytest.mark.parametrize(
    "kind, mode", [("webp", "RGB"), ("webp", "RGBA"), ("bmp", "L")]
)
def test_other_formats_are_read_as_in_training(kind, mode):
    options = {"lossless": True} if kind == "webp" else {}
    assert difference(encode(draw(64, 48, mode), kind, **options)) <= 1


def test_the_first_frame_counts():
    frames = [draw(64, 64).quantize(), draw(64, 60).resize((64, 64)).quantize()]
    data = encode(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert difference(data) <= 1


def test_of_16_bits_the_higher_count():
    values = np.arange(64 * 64).reshape(64, 64).astype(np.uint16) * 16
    assert difference(encode(PIL.Image.fromarray(values))) <= 1


def test_transparent_colours_are_kept():
    image = draw(40, 40, "RGBA")
    image.putalpha(0)
    assert difference(encode(image)) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_pictures_are_turned_upright(orientation, kind):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "jpeg" else {}
    data = encode(draw(48, 64), kind, exif=exif, **options)
    # TensorFlow decodes JPEG by a faster, coarser transform than Pillow.
    assert difference(data) <= (1 if kind == "png" else 12)


@pytest.mark.parametrize(
    "data", [b"", b"text", encode(draw(64, 64))[:500], encode(draw(9, 9), "tiff")]
)
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ValueError):
        pixels.decode_image(data, 32)


def test_too_many_pixels_are_not_decoded(monkeypatch):
    monkeypatch.setattr(pixels, "MAX_PIXELS", 63)
    with pytest.raises(ValueError, match="too many pixels"):
        pixels.decode_image(encode(draw(8, 8)), 8)
