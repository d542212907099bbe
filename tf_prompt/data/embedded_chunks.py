"""Finds the texts in PNG, JPEG and WebP files that may contain a prompt."""

import re
import struct
import zlib

from tf_prompt.data import metadata_payloads as payloads

# Limit on the texts of a file. ComfyUI's largest graphs have about a megabyte.
MAX_BYTES = 2**22
_MAX_PARTS, _MAX_FIELDS = 2**16, 512
# Names of the texts that are read; others are skipped.
_NAMES = {"parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata"}
_NAMES |= {"Dream", "Comment", "Description", "Software", "Source"}
# Names of our own metadata, and of EXIF's UserComment.
OURS, USER_COMMENT = "tf_prompt", "UserComment"

_PNG, _PNG_TEXTS = b"\x89PNG\r\n\x1a\n", (b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf")
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PIXELS, _END = 0xDA, 0xD9
_PROCESSING_SOFTWARE, _DESCRIPTION, _EXIF_FOLDER = 0x000B, 0x010E, 0x8769
_USER_COMMENT = 0x9286
# ComfyUI writes its graphs into fields from the camera's model downwards.
_GRAPHS = range(0x0100, 0x0111)
_TEXT_KINDS = (1, 2, 7)
_GRAPH = re.compile(r"(prompt|workflow)\s*:\s*(?=\{)", re.IGNORECASE)


def read_texts(data: bytes) -> dict[str, str]:
    """Reads the texts in which programs store prompts.

    Texts that are damaged or too large are ignored.

    Args:
        data: content of a file of any kind.

    Returns:
        dict from name to text. The name is the keyword of a PNG's text; for EXIF
        `UserComment`, or `prompt` and `workflow` from ComfyUI; for our own metadata
        `tf_prompt`.
    """
    texts: dict[str, str] = {}
    if data.startswith(_PNG):
        parts = _walk_png(data)
    elif data.startswith(b"\xff\xd8\xff"):
        parts = _walk_jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        parts = _walk_webp(data)
    else:
        return texts
    room = MAX_BYTES
    for kind, start, end in parts:
        if end - start > room:
            continue
        content = data[start:end]
        cost, found = _READERS[kind](content, room)
        # The parts themselves count too, even if their texts are short.
        room -= max(cost, len(content))
        texts.update(found)
        if room <= 0:
            break
    return texts


def _walk_png(data):
    place = len(_PNG)
    for _ in range(_MAX_PARTS):
        if place + 12 > len(data):
            return
        (size,) = struct.unpack_from(">I", data, place)
        name, end = data[place + 4 : place + 8], place + 8 + size
        if end + 4 > len(data) or name == b"IEND":
            return
        if name in _PNG_TEXTS and size <= MAX_BYTES:
            sound = zlib.crc32(data[place + 4 : end]) == int.from_bytes(
                data[end : end + 4]
            )
            if sound:
                yield name, place + 8, end
        place = end + 4


def _walk_jpeg(data):
    place = 2
    for _ in range(_MAX_PARTS):
        if place + 4 > len(data) or data[place] != 0xFF:
            return
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        if marker in (_PIXELS, _END) or end < place + 4 or end > len(data):
            return
        if marker == 0xE1:
            for name, head in ((b"eXIf", _EXIF), (b"XMP ", _XMP)):
                if data.startswith(head, place + 4):
                    yield name, place + 4 + len(head), end
        place = end


def _walk_webp(data):
    place, last = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    for _ in range(_MAX_PARTS):
        if place + 8 > last:
            return
        name = data[place : place + 4]
        start = place + 8
        end = start + int.from_bytes(data[place + 4 : start], "little")
        if end > last:
            return
        place = end + (end - start) % 2
        if name == b"EXIF":
            # Some write it as in a JPEG.
            start += len(_EXIF) * data.startswith(_EXIF, start)
            yield b"eXIf", start, end
        elif name == b"XMP ":
            yield name, start, end


def _read_plain(content, room):
    keyword, _, text = content.partition(b"\0")
    return 0, _named(keyword, text)


def _read_packed(content, room):
    keyword, _, rest = content.partition(b"\0")
    if rest[:1] != b"\0" or not _is_wanted(keyword):
        return 0, {}
    cost, text = _unpack(rest[1:], room)
    return cost, _named(keyword, text)


def _read_international(content, room):
    keyword, _, rest = content.partition(b"\0")
    packed, (_, _, rest) = rest[:1] == b"\1", rest[2:].partition(b"\0")
    translated, _, text = rest.partition(b"\0")
    if not _is_wanted(keyword):
        return 0, {}
    cost = 0
    if packed:
        cost, text = _unpack(text, room)
    if keyword == b"Description" and translated == OURS.encode():
        return cost, _named(OURS.encode(), text, wanted=True)
    return cost, _named(keyword, text)


def _read_exif(tiff, room):
    texts = {}
    fields = _read_fields(tiff)
    if fields.get(_PROCESSING_SOFTWARE) == OURS.encode():
        texts |= _named(OURS.encode(), fields.get(_DESCRIPTION, b""), wanted=True)
    if _USER_COMMENT in fields:
        texts[USER_COMMENT] = _decode_comment(fields[_USER_COMMENT])
    for tag in _GRAPHS:
        text = _decode(fields.get(tag, b""))
        if match := _GRAPH.match(text):
            texts[match[1].lower()] = text[match.end() :]
    return len(tiff), texts


def _read_xmp(packet, room):
    text = payloads.read_xmp(packet)
    return 0, {} if text is None else {OURS: text}


_READERS = {
    b"tEXt": _read_plain,
    # An animated PNG of ComfyUI.
    b"comf": _read_plain,
    b"zTXt": _read_packed,
    b"iTXt": _read_international,
    b"eXIf": _read_exif,
    b"XMP ": _read_xmp,
}


def _unpack(content, room):
    """Returns the bytes decompressed, and the text: empty if longer than `room`."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(content, room)
    except zlib.error:
        # Its size is unknown; a few damaged texts must not hide the others.
        return MAX_BYTES // 16, b""
    return len(text), text if unpacker.eof else b""


def _is_wanted(keyword):
    return keyword.decode("latin-1") in _NAMES


def _named(keyword, text, wanted=False):
    if not text or not (wanted or _is_wanted(keyword)):
        return {}
    return {keyword.decode("latin-1"): _decode(text)}


def _decode(text):
    # The standard of tEXt says Latin-1, many programs write UTF-8; valid UTF-8 is
    # rarely Latin-1.
    text = text.rstrip(b"\0")
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _read_fields(tiff):
    """Reads the texts of a TIFF structure: its first directory and the EXIF in it.

    Reference: CIPA DC-008 (Exif 2.32), 4.6.2.
    """
    order = {b"MM\0*": ">", b"II*\0": "<"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return {}
    found, folders = {}, list(struct.unpack_from(order + "I", tiff, 4))
    for folder in folders:
        if folder + 2 > len(tiff):
            continue
        (count,) = struct.unpack_from(order + "H", tiff, folder)
        last = min(folder + 2 + 12 * min(count, _MAX_FIELDS), len(tiff) - 11)
        for field in range(folder + 2, last, 12):
            tag, kind, size, value = struct.unpack_from(order + "HHII", tiff, field)
            if tag == _EXIF_FOLDER and len(folders) == 1:
                folders.append(value)
            elif kind in _TEXT_KINDS and _holds_text(tag) and tag not in found:
                start = field + 8 if size <= 4 else value
                found[tag] = tiff[start : start + size].removesuffix(b"\0")
    return found


def _holds_text(tag):
    return tag in (_PROCESSING_SOFTWARE, _USER_COMMENT) or tag in _GRAPHS


def _decode_comment(comment):
    """Decodes EXIF's UserComment, whose first eight bytes should name its encoding.

    Reference: CIPA DC-008 (Exif 2.32), 4.6.5, table 9.
    """
    encoding, text = comment[:8], comment[8:]
    if encoding == b"UNICODE\0":
        # The standard does not fix the byte order; the zeros of ASCII letters show it.
        low_first = text[1::2].count(0) > text[::2].count(0)
        if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
            low_first, text = text[:2] == b"\xff\xfe", text[2:]
        return text.decode("utf-16-le" if low_first else "utf-16-be", "replace")
    if encoding in (b"ASCII\0\0\0", b"\0" * 8):
        return _decode(text)
    return _decode(comment)
