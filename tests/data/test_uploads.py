"""What visitors send is a picture of reasonable size, or refused with a reason."""

import io
import zlib

import numpy as np
import PIL.Image
import pytest

from tf_prompt.data import uploads


def encode(kind, size=(8, 6)):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_pictures_pass(kind):
    uploads.check_image(encode(kind), "a.png")


@pytest.mark.parametrize(
    "data",
    [b"this is text\n", b"", encode("png")[:60], encode("tiff")],
    ids=["text", "empty", "cut off", "a format that models do not read"],
)
def test_other_files_are_refused_by_name(data):
    with pytest.raises(ValueError, match=r"notes\.png is not a picture that can be"):
        uploads.check_image(data, "notes.png")


def test_a_refusal_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"\): cut off, the PNG ends early\.$"):
        uploads.check_image(encode("png")[:60], "a.png")
    with pytest.raises(ValueError, match=r"\): an HTML page\.$"):
        uploads.check_image(b"<html>", "a.png")


def test_heic_says_what_to_do():
    data = b"\x00\x00\x00\x18ftypheic" + b"\x00" * 40
    with pytest.raises(ValueError, match=r"IMG_1\.png is a HEIC .* Save it as JPEG"):
        uploads.check_image(data, "IMG_1.png")


def test_size_is_checked_before_pixels_are_decoded(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PIXELS", 1_000_000)
    monkeypatch.setattr(uploads.images, "decode_image", None)
    with pytest.raises(ValueError, match="a.png is too large: at most 1 megapixels"):
        uploads.check_image(encode("png", (1001, 1000)), "a.png")


def test_a_bomb_is_refused():
    # A header of 30,000 x 30,000 pixels: Pillow itself gives up at 179 million.
    data = bytearray(encode("png"))
    data[16:24] = np.array([30_000, 30_000], ">u4").tobytes()
    crc = zlib.crc32(bytes(data[12:29]))
    data[29:33] = np.array([crc], ">u4").tobytes()
    with pytest.raises(ValueError, match="too large"):
        uploads.check_image(bytes(data), "bomb.png")
