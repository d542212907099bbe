"""Writes a prompt into the metadata of an image file, without re-encoding pixels.

Where it goes, and how to read it:

- PNG: an iTXt chunk before the pixels, keyword `Description`, UTF-8. The translated
  keyword `tf_prompt` marks it as ours. Pillow: `image.info["Description"]`.
- JPEG and WebP without EXIF: EXIF with two fields, `ImageDescription` in UTF-8, which
  viewers show as a title, and `ProcessingSoftware`, `tf_prompt`. Pillow decodes it as
  Latin-1: `image.getexif()[0x010E].encode("latin-1").decode()`.
- JPEG and WebP with EXIF: the EXIF stays, because parts of it, such as maker notes,
  are located by offsets. An XMP packet is added, or a part to the existing packet: an
  `rdf:Description` with the property `prompt` of the namespace
  `metadata_payloads.NAMESPACE`, and `dc:description`, which viewers show, unless the
  packet has one. Pillow: `image.info["xmp"]`.

Everything else stays byte for byte: text, such as A1111's `parameters`, profiles,
frames, data after the image. Only our own entry of an earlier run is replaced.

Alternatives considered: Pillow, which re-encodes; piexif, without a release since
2019; pyexiv2, which covers the three formats but is a GPL wrapper of a C++ library.
"""

import re
import struct
import zlib

from tf_prompt.data import metadata_containers

_FORMATS = "PNG, JPEG or WebP"
_PNG = b"\x89PNG\r\n\x1a\n"
# Keyword, no compression, no language, translated keyword.
_OURS = b"Description\0" + b"\0\0" + b"\0" + b"tf_prompt\0"
# Formats that can be decoded but not annotated.
_OTHER_FORMATS = {b"GIF8": "GIF", b"BM": "BMP"}
# Characters that XML and zero-terminated text cannot hold.
_UNFIT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write_prompt(data: bytes, prompt: str) -> bytes:
    """Writes a prompt into an image, replacing one written by tf_prompt before.

    Args:
        data: an encoded PNG, JPEG or WebP; everything else in it stays.
        prompt: the text.

    Returns:
        The encoded image with the prompt.

    Raises:
        ValueError: if the format cannot hold a prompt, the file is truncated or
            damaged, or the prompt does not fit.
    """
    unfit = _UNFIT.search(prompt)
    if unfit:
        raise ValueError(
            f"a prompt in a file must be plain text. Received: one with {unfit[0]!r}"
        )
    return _format_of(data).put(data, prompt)


def without_prompt(data: bytes) -> bytes:
    """Removes from an image what `write_prompt` added.

    Files that differ only in the prompt give equal bytes. These may differ from the
    original file: a WebP that needed an extended header loses that header.

    Args:
        data: an encoded PNG, JPEG or WebP.

    Returns:
        The encoded image without our prompt.

    Raises:
        ValueError: if the format cannot hold a prompt, or the file is truncated or
            damaged.
    """
    return _format_of(data).bare(data)


def _format_of(data):
    """Returns the class for the format of a file."""
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
        # Before the pixels, where some readers stop; after all other text, because
        # some readers keep the last entry of a keyword.
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
    """Start, end and name of each chunk; raises if the file is truncated or damaged."""
    chunks, place, name = [], len(_PNG), b""
    while name != b"IEND":
        if place + 12 > len(data):
            raise ValueError("a PNG must be whole. Received: one that ends early")
        (size,) = struct.unpack_from(">I", data, place)
        name, end = data[place + 4 : place + 8], place + 12 + size
        if end > len(data):
            raise ValueError("a PNG must be whole. Received: one that ends early")
        sound = _checksum(data[place + 4 : end - 4]) == data[end - 4 : end]
        # A capital letter marks a chunk that is needed to show the image.
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
