"""What is said of files that are no images; TensorFlow decides that they are none."""

import gzip
import io
import pathlib
import struct
import zipfile

import numpy as np
import PIL.Image
import pytest

from tests.data.test_image_headers import claim
from tf_prompt.data import image_faults, image_headers, images

FORMS = {
    "JPEG": ("JPEG", {}),
    "JPEG in passes": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "GIF": ("GIF", {}),
    "BMP": ("BMP", {}),
    "WebP": ("WEBP", {}),
    "WebP lossless": ("WEBP", {"lossless": True}),
    "WebP of parts": ("WEBP", {"exif": b"Exif\0\0II*\0"}),
}
each_form = pytest.mark.parametrize("name", FORMS)


def encode(name, width=70, height=50):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file, (form, options) = io.BytesIO(), FORMS[name]
    PIL.Image.fromarray(noise).save(file, form, **options)
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("0.png", b"x")
    return file.getvalue()


@each_form
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_file_that_was_cut_is_told(name, share):
    data = encode(name)
    cut = data[: int(share * len(data))]
    form = name.split()[0]
    assert image_faults.find_fault(cut) == f"cut off, the {form} ends early"
    assert images.is_image(data)
    # Of a GIF, TensorFlow may find the first frame whole enough.
    assert not images.is_image(cut) or form == "GIF"


@each_form
def test_what_is_whole_is_not_called_cut(name):
    form = name.split()[0]
    for data in (encode(name), encode(name) + b"\0" * 9):
        assert image_faults.find_fault(data) == f"a damaged or unusual {form}"


@each_form
def test_too_many_pixels_are_counted_as_tensorflow_s_guard_does(name, monkeypatch):
    data = encode(name)
    assert image_headers.read_header(data)[1] == 70 * 50
    monkeypatch.setattr(image_faults, "MAX_PIXELS", 3499)
    expected = "too large, 70 x 50 pixels, at most 0 megapixels"
    assert image_faults.find_fault(data) == expected
    monkeypatch.setattr(image_faults, "MAX_PIXELS", 3500)
    assert "too large" not in image_faults.find_fault(data)


def test_a_picture_of_gigapixels_is_too_large():
    data = claim(60_000, 60_000)
    assert not images.is_image(data)
    assert image_faults.explain(data) == (
        "not an image that can be read: too large, 60000 x 60000 pixels, "
        "at most 64 megapixels"
    )


def test_a_jpeg_cut_behind_its_thumbnail_is_told():
    """The small picture in its EXIF has an end of its own."""
    thumbnail = encode("JPEG", 16, 16)
    exif = b"Exif\0\0" + thumbnail
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    data = b"\xff\xd8" + segment + encode("JPEG")[2:]
    assert images.is_image(data)
    for end in (len(segment) + 100, len(data) - 50):
        assert "cut off, the JPEG" in image_faults.find_fault(data[:end])


@pytest.mark.parametrize(
    "data, fault",
    [
        (b"", "an empty file"),
        (bytes(5000), "nothing but zero bytes"),
        (b"<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"\xef\xbb\xbf\r\n <HTML lang=en>", "an HTML page"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "an XML file"),
        (b"no image", "a text file"),
        (b"BMW and BMX are words", "a text file"),
        (b'{"error": "not found"}', "a text file"),
        ("ü".encode() * 512 + b"x", "a text file"),
        (("x" + "ü" * 600).encode(), "a text file"),
        (b"%PDF-1.7\n", "a PDF document"),
        (zipped(), "a ZIP archive"),
        (gzip.compress(b"x"), "a GZIP archive"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a sound or video file"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "an MP4 video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "a QuickTime video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\x01\x02\xff\xfe", "an unknown kind of file, which begins with 01 02 ff fe"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_other_files_are_named_by_their_first_bytes(data, fault):
    assert not images.is_image(data)
    found = image_faults.explain(data, pathlib.Path("a.png"))
    assert found.startswith(f"not an image that can be read: {fault}")


@pytest.mark.parametrize(
    "data, ending, kind",
    [
        (b"\0\0\0\x18ftypheic", ".png", "HEIC"),
        (b"\0\0\0\x1cftypavif", ".jpg", "AVIF"),
        (b"II*\0\x08\0\0\0", ".png", "TIFF"),
        (b"MM\0*\0\0\0\x08", ".tif", "TIFF"),
        (b"\xff\x0a\xfa\x7f", ".png", "JXL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", ".png", "JXL"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', ".png", "SVG"),
        (b'<?xml version="1.0"?>\n<svg>', ".svg", "SVG"),
        (b"8BPS\0\1", ".png", "PSD"),
        (b"no image", ".HEIC", "HEIC"),
        (b"no image", ".tif", "TIFF"),
    ],
)
def test_pictures_that_nobody_here_reads_say_what_to_do(data, ending, kind):
    found = image_faults.explain(data, pathlib.Path(f"a{ending}"))
    assert found == f"{kind} cannot be read: convert it to PNG or JPEG first"


def test_every_ending_that_is_not_read_has_its_kind():
    from tf_prompt.data import listing

    for ending in listing.FOREIGN_SUFFIXES:
        found = image_faults.explain(b"?", pathlib.Path(f"a{ending}"))
        assert found.endswith("cannot be read: convert it to PNG or JPEG first")


def test_a_broken_picture_of_a_foreign_ending_is_named_by_its_content():
    data = encode("PNG")[:500]
    assert "cut off, the PNG" in image_faults.explain(data, pathlib.Path("a.heic"))


@each_form
def test_any_bytes_have_some_fault(name):
    data, draw = encode(name), np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(data[: draw.integers(0, len(data))])
        for place in draw.integers(0, 64, 3):
            damaged[place : place + 1] = draw.bytes(1)
        assert image_faults.explain(bytes(damaged))


def test_a_jpeg_of_endless_segments_is_not_walked_to_its_end():
    assert image_faults.find_fault(b"\xff\xd8" + b"\xff\xe1\0\0" * 5_000_000)
