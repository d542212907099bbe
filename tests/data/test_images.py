import io

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
import tensorflow as tf

from tests import checks
from tf_prompt.data import images


def encode(picture, image_format, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, image_format, **options)
    return file.getvalue()


def gradient(height, width):
    rows = np.linspace(0, 255, height)[:, None, None]
    columns = np.linspace(0, 255, width)[None, :, None]
    return np.broadcast_to((rows + columns) / 2, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "image_format, options",
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {}),
        ("BMP", {}),
    ],
    ids=["png", "jpeg", "webp-lossless", "webp-lossy", "bmp"],
)
def test_every_format_decodes_alike(image_format, options):
    data = encode(gradient(40, 40), image_format, **options)

    def decode(example):
        return images.decode_image(example, 40)

    for image in checks.outputs_of(decode, tf.constant(data)):
        assert image.dtype == "uint8"
        difference = np.asarray(image, int) - gradient(40, 40)
        assert np.abs(difference).max() <= 8


@pytest.mark.parametrize("shape", [(64, 64), (64, 96), (96, 64), (20, 20)])
def test_the_centred_square_is_kept(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    side = min(shape)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    picture[top : top + side, left : left + side] = 200
    image = images.decode_image(encode(picture, "PNG"), 32)
    assert image.shape == (32, 32, 3)
    np.testing.assert_array_equal(image, np.full((32, 32, 3), 200))


def test_a_picture_of_the_right_size_is_not_touched():
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    image = images.decode_image(encode(picture, "PNG"), 24)
    np.testing.assert_array_equal(image, picture)


def test_resizing_averages_what_it_shrinks():
    """Without antialiasing, stripes one pixel wide would come out black or white."""
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[:, ::2] = 255
    image = np.asarray(images.decode_image(encode(picture, "PNG"), 16), int)
    assert np.abs(image[:, 1:-1] - 127).max() < 12


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_colour_modes(mode):
    file = io.BytesIO()
    PIL.Image.fromarray(gradient(16, 16)).convert(mode).save(file, "PNG")
    assert images.decode_image(file.getvalue(), 8).shape == (8, 8, 3)


def test_of_a_gif_the_first_frame_is_taken():
    frames = [PIL.Image.new("RGB", (9, 9), colour) for colour in ("red", "lime")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    image = images.decode_image(file.getvalue(), 9)
    np.testing.assert_array_equal(image, np.asarray(frames[0]))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_first_frame_of_an_animated_webp_counts(mode):
    """TensorFlow alone writes beyond its memory here where no frame has alpha."""
    frames = [PIL.Image.new(mode, (96, 80), colour) for colour in ("red", "lime")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    data = file.getvalue()
    for _ in range(5):
        image = images.decode_image(data, 80)
        np.testing.assert_array_equal(image, np.full((80, 80, 3), (255, 0, 0)))
    pictures, sound = images.decode_batch(tf.constant([data, data[:40]]), [8])
    assert sound.numpy().tolist() == [True, False]
    np.testing.assert_array_equal(pictures[0][0], np.full((8, 8, 3), (255, 0, 0)))
    for size in range(12, 60):
        assert not images.is_image(data[:size])


def test_transparency_is_ignored():
    """The colours under it are kept, not mixed with a background."""
    picture = np.dstack([gradient(16, 16), np.zeros((16, 16), np.uint8)])
    for image_format, options in [("PNG", {}), ("WEBP", {"exact": True})]:
        data = encode(picture, image_format, lossless=True, **options)
        np.testing.assert_array_equal(images.decode_image(data, 16), gradient(16, 16))


def test_of_16_bits_the_higher_8_count():
    """As Pillow reads them, which keeps all 16 of a grey picture."""
    picture = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, "PNG")
    image = images.decode_image(file.getvalue(), 256)
    np.testing.assert_array_equal(image[..., 0], picture >> 8)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_values_of_broken_images_are_emptied():
    sound = tf.constant([True, False])
    texts, scores = tf.constant(["a", "b"]), tf.constant([[1.0, 2.0], [3.0, 4.0]])
    texts, scores = images.blank(sound, texts, scores)
    assert texts.numpy().tolist() == [b"a", b""]
    np.testing.assert_array_equal(scores, [[1, 2], [np.nan, np.nan]])


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\nhalf"])
def test_what_is_no_image_raises(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        images.decode_image(data, 8)


def test_encoding_drops_the_prompt_in_the_text_chunks():
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("Dream", "a secret prompt")
    data = encode(gradient(16, 16), "PNG", pnginfo=info)
    assert b"secret" in data
    assert b"secret" not in images.encode_jpeg(images.decode_image(data, 16))


@pytest.mark.parametrize("size", [32, 48])
def test_a_stored_picture_decodes_as_any(size):
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    data = images.encode_jpeg(noise)
    np.testing.assert_array_equal(
        images.decode_stored(data, size), images.decode_image(data, size)
    )


def test_a_stored_picture_has_a_largest_size(monkeypatch):
    data = images.encode_jpeg(np.zeros((9, 9, 3), np.uint8))
    monkeypatch.setattr(images.image_headers, "MAX_PIXELS", 80)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 80 pixels"):
        images.decode_stored(data, 8)
