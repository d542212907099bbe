"""Puts a prompt into an image file's own bytes; pixels are never encoded again.

Where it goes, and what readers see:

- PNG: a chunk iTXt in front of the pixels, keyword `Description`, UTF-8. Its
  translated keyword `tf_prompt` says whose it is. Pillow: `image.info["Description"]`.
- JPEG and WebP without EXIF: EXIF of two fields, `ImageDescription` in UTF-8, which
  viewers show as a title, and `ProcessingSoftware`, `tf_prompt`. Pillow:
  `image.getexif()[0x010E].encode("latin-1").decode()`, since it takes a text for
  Latin-1.
- JPEG and WebP with EXIF: this stays as it is, since what it holds, such as a maker's
  notes, is found by place. An XMP packet is added, or a part to the packet that is
  there: an `rdf:Description` with the property `prompt` of the namespace
  `metadata_payloads.NAMESPACE`, and `dc:description`, which viewers show, unless the
  packet has one. Pillow: `image.info["xmp"]`.

All else stays byte for byte: text, such as A1111's `parameters`, profiles, frames,
what stands behind the image. Only our own note of an earlier run is replaced.

Pillow, which encodes anew, and piexif, without a release since 2019, were looked at;
pyexiv2 covers the three formats, under the GPL and by a library in C++.
"""

import re
import struct
import zlib

from tf_prompt.data import metadata_containers

_FORMATS = "PNG, JPEG or WebP"
_PNG = b"\x89PNG\r\n\x1a\n"
# Keyword, no compression, no language, translated keyword.
_OURS = b"Description\0" + b"\0\0" + b"\0" + b"tf_prompt\0"
# What can be decoded otherwise.
_OTHER_FORMATS = {b"GIF8": "GIF", b"BM": "BMP"}
# What XML, and a text that ends with a zero, cannot hold.
_UNFIT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write_prompt(data: bytes, prompt: str) -> bytes:
    """Puts a prompt into an image, in place of one that tf_prompt put there before.

    Args:
        data: an encoded PNG, JPEG or WebP; frames and what else there is stay.
        prompt: the text.

    Returns:
        The encoded image with the prompt.

    Raises:
        ValueError: if the format cannot hold a prompt, the file is not whole, or the
            prompt does not fit in.
    """
    unfit = _UNFIT.search(prompt)
    if unfit:
        raise ValueError(
            f"a prompt in a file must be plain text. Received: {unfit[0]!r} in it"
        )
    return _format_of(data).put(data, prompt)


def without_prompt(data: bytes) -> bytes:
    """Takes out of an image what `write_prompt` put in.

    Two files that differ by the prompt only give equal bytes. These need not be those
    of the file before: a WebP of one part, which had to be wrapped, is unwrapped.

    Args:
        data: an encoded PNG, JPEG or WebP.

    Raises:
        ValueError: if the format cannot hold a prompt, or the file is not whole.
    """
    return _format_of(data).bare(data)


def _format_of(data):
    """The class that knows the format of a file."""
    if data.startswith(_PNG):
        return _PNGFile
    if data.startswith(b"\xff\xd8\xff"):
        return metadata_containers.JPEGFile
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return metadata_containers.WebPFile
    for beginning, name in _OTHER_FORMATS.items():
        if data.startswith(beginning):
            raise ValueError(f"{name} cannot hold a prompt: convert it to PNG first")
    raise ValueError(f"a file must be {_FORMATS} to hold a prompt. Received: other")


class _PNGFile:
    @classmethod
    def put(cls, data: bytes, prompt: str) -> bytes:
        data = cls.bare(data)
        # In front of the pixels, or readers that stop there miss it; behind all other
        # text there, of which some readers keep the last of a keyword.
        place = next(s for s, _, name in _chunks(data) if name in (b"fcTL", b"IDAT"))
        return data[:place] + _chunk(b"iTXt", _OURS + prompt.encode()) + data[place:]

    @staticmethod
    def bare(data: bytes) -> bytes:
        kept, done = [], 0
        for start, end, name in _chunks(data):
            if name == b"iTXt" and data.startswith(_OURS, start + 8):
                kept.append(data[done:start])
                done = end
        return b"".join([*kept, data[done:]])


def _chunks(data):
    """Begin, end and name of each chunk; raises unless the file is whole."""
    chunks, place, name = [], len(_PNG), b""
    while name != b"IEND":
        if place + 12 > len(data):
            raise ValueError("a PNG must be whole. Received: one that ends early")
        (size,) = struct.unpack_from(">I", data, place)
        name, end = data[place + 4 : place + 8], place + 12 + size
        if end > len(data):
            raise ValueError("a PNG must be whole. Received: one that ends early")
        sound = _checksum(data[place + 4 : end - 4]) == data[end - 4 : end]
        # A capital says that the chunk is needed to see the picture.
        if name[:1].isupper() and not sound:
            raise ValueError("a PNG must be whole. Received: one that is damaged")
        chunks.append((place, end, name))
        place = end
    names = [name for *_, name in chunks]
    if names[0] != b"IHDR" or b"IDAT" not in names:
        raise ValueError("a PNG must have a header and pixels. Received: one without")
    return chunks


def _chunk(name, content):
    size = struct.pack(">I", len(content))
    return size + name + content + _checksum(name + content)


def _checksum(data):
    return struct.pack(">I", zlib.crc32(data))
