"""Explains why a file is not an image: empty, truncated, too large, or another kind."""

import pathlib
import struct

# 8000 x 8000. The header of a file of a few kilobytes can claim a hundred times more.
MAX_PIXELS = 64_000_000

# First bytes of images that TensorFlow cannot read.
_FOREIGN = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JXL",
    b"\0\0\0\x0cJXL ": "JXL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"8BPS": "PSD",
    b"\0\0\1\0": "ICO",
}
# Brands of files that start with a box `ftyp`, as MP4 does.
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "HEIC"),
    **dict.fromkeys((b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
_ENDINGS = {".heic": "HEIC", ".heif": "HEIC", ".tif": "TIFF", ".tiff": "TIFF"}
_ENDINGS |= {".avif": "AVIF", ".jxl": "JXL"}
# First bytes of files that are not images.
_OTHERS = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"\x1f\x8b": "a GZIP archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1aE\xdf\xa3": "a WebM or Matroska video",
    b"RIFF": "a sound or video file",
    b"version https://git-lfs": "a pointer of Git LFS; `git lfs pull` gets the file",
}
_HEAD = 1024
# Segments before the pixels of a JPEG; a damaged file may hold millions.
_MOST_SEGMENTS = 1000
_NOT_SIZES = (0xC4, 0xC8, 0xCC)


def explain(data: bytes, path: pathlib.PurePath | None = None) -> str:
    """Explains in a few words why a file cannot be read as an image.

    Args:
        data: content that `images.decode_image` does not decode.
        path: the file; its extension counts if its first bytes are unknown.

    Returns:
        Text without a full stop, for an error message.
    """
    kind = find_foreign(data)
    if kind is None and path is not None and _find_format(data) is None:
        kind = _ENDINGS.get(path.suffix.lower())
    if kind is not None:
        return f"{kind} cannot be read: convert it to PNG or JPEG first"
    return f"not an image that can be read: {find_fault(data)}"


def find_foreign(data: bytes) -> str | None:
    """Names the format of an image that TensorFlow cannot read, by its first bytes."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    head = _text_head(data)
    if head.startswith(b"<") and b"<svg" in head and b"<html" not in head:
        return "SVG"
    return next((k for start, k in _FOREIGN.items() if data.startswith(start)), None)


def find_fault(data: bytes) -> str:
    """Describes what is wrong with the content of a file, see `explain`."""
    if not data:
        return "an empty file"
    form = _find_format(data)
    if form is None:
        return _name_other(data)
    size, is_whole = _FORMATS[form](data)
    if size[0] * size[1] > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        return f"too large, {size[0]} x {size[1]} pixels, at most {limit} megapixels"
    if not is_whole:
        return f"cut off, the {form} ends early"
    # For example, TensorFlow reads neither 12-bit pixels nor arithmetic coding.
    return f"a damaged or unusual {form}"


def _find_format(data: bytes) -> str | None:
    """The format of an image that TensorFlow could read if it were intact."""
    if data.startswith(b"\xff\xd8"):
        return "JPEG"
    if data.startswith(b"\x89PNG"):
        return "PNG"
    if data.startswith(b"GIF8"):
        return "GIF"
    if data.startswith(b"RIFF") and data[8:12] in (b"WEBP", b""):
        return "WebP"
    # Text may start with these letters too, but here a header length follows.
    if data.startswith(b"BM") and data[15:18] in (b"\0\0\0", b""):
        return "BMP"
    return None


def _name_other(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "a QuickTime video" if data[8:10] == b"qt" else "an MP4 video"
    for start, name in {**_FOREIGN, **_OTHERS}.items():
        if data.startswith(start):
            return name if start in _OTHERS else f"a {name} image"
    head = _text_head(data)
    if head.startswith(b"<"):
        is_page = b"<html" in head or b"<!doctype html" in head
        return "an HTML page" if is_page else "an XML file"
    if not data.strip(b"\0"):
        return "nothing but zero bytes"
    if _is_text(data[:_HEAD]):
        return "a text file"
    return f"an unknown kind of file, which begins with {data[:8].hex(' ')}"


def _text_head(data):
    return data[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()


def _is_text(head) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut at the end.
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(letter.isprintable() or letter.isspace() for letter in text)


def _numbers(form: str, data: bytes, start: int) -> tuple[int, ...]:
    """Unpacks numbers of a header; zeros where it is truncated."""
    part = data[start : start + struct.calcsize(form)]
    return struct.unpack(form, part.ljust(struct.calcsize(form), b"\0"))


def _look_at_png(data):
    return _numbers(">II", data, 16), data.rfind(b"IEND") > 0


def _look_at_gif(data):
    return _numbers("<HH", data, 6), data.rstrip(b"\0").endswith(b";")


def _look_at_bmp(data):
    length, width, height = *_numbers("<I", data, 2), *_numbers("<ii", data, 18)
    return (width, abs(height)), 54 <= len(data) >= length


def _look_at_webp(data):
    is_whole = 30 <= len(data) >= 8 + _numbers("<I", data, 4)[0]
    if data[12:16] == b"VP8X":
        low = _numbers("<HBHB", data, 24)
        return (low[0] + 2**16 * low[1] + 1, low[2] + 2**16 * low[3] + 1), is_whole
    if data[12:16] == b"VP8L":
        (sizes,) = _numbers("<I", data, 21)
        return (sizes % 2**14 + 1, sizes // 2**14 % 2**14 + 1), is_whole
    width, height = _numbers("<HH", data, 26)
    return (width % 2**14, height % 2**14), is_whole


def _look_at_jpeg(data):
    size, place = (0, 0), 2
    for _ in range(_MOST_SEGMENTS):
        if place + 4 > len(data):
            return size, False
        mark, marker, length = _numbers(">BBH", data, place)
        if mark != 0xFF:
            break
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_SIZES:
            height, width = _numbers(">HH", data, place + 5)
            size = (width, height)
        if marker == 0xDA:
            # Inside the pixels the end marker would be escaped.
            return size, data.rfind(b"\xff\xd9") > place
        place += 2 + length
    return size, True


# Functions from content to width and height, and whether the file is complete.
_FORMATS = {
    "JPEG": _look_at_jpeg,
    "PNG": _look_at_png,
    "GIF": _look_at_gif,
    "WebP": _look_at_webp,
    "BMP": _look_at_bmp,
}
