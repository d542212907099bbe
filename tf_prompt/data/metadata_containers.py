"""JPEG and WebP files as sequences of parts, to which EXIF and XMP are added."""

import struct

from tf_prompt.data import metadata_payloads as payloads

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_APP0, _APP1, _APP2, _PIXELS, _END = 0xE0, 0xE1, 0xE2, 0xDA, 0xD9
_MAX_SEGMENT = 0xFFFF - 2
# Multi-Picture Format: the offsets of further images.
_MPF, _MPF_ENTRIES, _MPF_ENTRY_SIZE = b"MPF\0", 0xB002, 16
# Flags of VP8X.
_ALPHA, _HAS_EXIF, _HAS_XMP = 0x10, 0x08, 0x04
_WRAPPER, _ALONE, _FRAME = b"VP8X", (b"VP8 ", b"VP8L"), b"ANMF"
_EXIF_NAME, _XMP_NAME = b"EXIF", b"XMP "


class JPEGFile:
    """The segments of a JPEG before its pixels; everything after stays as it is.

    Reference: ITU-T T.81, annex B; CIPA DC-007 (MPF), 5.2; XMP part 3, 1.1.3.
    """

    @classmethod
    def put(cls, data: bytes, prompt: str) -> bytes:
        """Puts a prompt in; see `metadata_writer.write_prompt`."""
        data = cls.bare(data)
        segments = _segments(data)
        exif = _find(data, segments, _EXIF)
        if exif is None:
            place = _end_of_jfif(segments)
            content = _EXIF + payloads.build_exif(prompt)
            return _splice(data, place, place, _segment(content))
        xmp = _find(data, segments, _XMP)
        if xmp is None:
            place, content = exif[1], _XMP + payloads.build_xmp(prompt)
            return _splice(data, place, place, _segment(content))
        start, end = xmp
        packet = payloads.build_xmp(prompt, data[start + 4 + len(_XMP) : end])
        return _splice(data, start, end, _segment(_XMP + packet))

    @staticmethod
    def bare(data: bytes) -> bytes:
        """Takes our prompt out; see `metadata_writer.without_prompt`."""
        # Backwards, so that the offsets of earlier segments stay valid.
        for start, end, marker in reversed(_segments(data)):
            content = data[start + 4 : end]
            if marker != _APP1:
                continue
            if content.startswith(_EXIF):
                if payloads.is_our_exif(content[len(_EXIF) :]):
                    data = _splice(data, start, end, b"")
            elif content.startswith(_XMP):
                packet = content[len(_XMP) :]
                bare = payloads.bare_xmp(packet)
                if bare != packet:
                    data = _splice(data, start, end, bare and _segment(_XMP + bare))
        return data


def _segments(data):
    """Start, end and marker of each segment before the pixels."""
    found, place, broken = [], 2, "a JPEG must be whole. Received: one that ends early"
    while True:
        # Any number of bytes 255 may precede a marker.
        while data[place : place + 2] == b"\xff\xff":
            place += 1
        if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] == _END:
            raise ValueError(broken)
        marker, (size,) = data[place + 1], struct.unpack_from(">H", data, place + 2)
        end = place + 2 + size
        if size < 2 or end > len(data):
            raise ValueError(broken)
        if marker == _PIXELS:
            break
        found.append((place, end, marker))
        place = end
    if data.find(bytes([0xFF, _END]), end) < 0:
        raise ValueError(broken)
    return found


def _find(data, segments, kind):
    """Start and end of the first APP1 of a kind; None if there is none."""
    for start, end, marker in segments:
        if marker == _APP1 and data.startswith(kind, start + 4):
            return start, end
    return None


def _end_of_jfif(segments):
    """The end of JFIF, which must come first; without JFIF, where it would start."""
    place = 2
    for _, end, marker in segments:
        if marker != _APP0:
            break
        place = end
    return place


def _segment(content):
    if len(content) > _MAX_SEGMENT:
        raise ValueError(
            f"metadata of a JPEG must be at most {_MAX_SEGMENT} bytes with the prompt. "
            f"Received: {len(content)}"
        )
    return struct.pack(">BBH", 0xFF, _APP1, len(content) + 2) + content


def _splice(data, start, end, content):
    """Replaces bytes before the pixels, and corrects the offsets of further images."""
    growth = len(content) - (end - start)
    table = bytearray(data)
    for first, last, marker in _segments(data):
        if marker == _APP2 and data.startswith(_MPF, first + 4):
            _shift_images(table, first + 4 + len(_MPF), last, end, growth)
    return bytes(table[:start]) + content + bytes(table[end:])


def _shift_images(table, base, last, place, growth):
    """Corrects the sizes and offsets in an MPF for bytes that are inserted.

    Args:
        table: the file, changed in place.
        base: start of the MPF's TIFF structure, to which its offsets refer.
        last: end of its segment; an MPF that reaches beyond is left as it is.
        place: offset of the inserted bytes.
        growth: number of inserted bytes; negative if bytes are removed.
    """
    order = {b"MM\0*": ">", b"II*\0": "<"}.get(bytes(table[base : base + 4]))
    if order is None or base + 8 > last:
        return
    (folder,) = struct.unpack_from(order + "I", table, base + 4)
    fields = base + folder
    if fields + 2 > last:
        return
    (count,) = struct.unpack_from(order + "H", table, fields)
    for field in range(fields + 2, min(fields + 2 + 12 * count, last - 11), 12):
        tag, _, size, start = struct.unpack_from(order + "HHII", table, field)
        if tag != _MPF_ENTRIES or base + start + size > last:
            continue
        for entry in range(base + start, base + start + size - 15, _MPF_ENTRY_SIZE):
            _shift_entry(table, order, entry, base, place, growth)


def _shift_entry(table, order, entry, base, place, growth):
    size, offset = struct.unpack_from(order + "II", table, entry + 4)
    # The first image has offset zero and is the one that grows. The others move, and so
    # does the base of their offsets if it comes after the new bytes.
    if offset == 0:
        size = (size + growth) % 2**32
    elif place > base:
        offset = (offset + growth) % 2**32
    struct.pack_into(order + "II", table, entry + 4, size, offset)


class WebPFile:
    """The chunks of a WebP; simple files get the extended header that metadata needs.

    Reference: RFC 9649, sections 2.3 to 2.7.
    """

    @classmethod
    def put(cls, data: bytes, prompt: str) -> bytes:
        """Puts a prompt in; see `metadata_writer.write_prompt`."""
        chunks, rest = _read_webp(data)
        chunks = _bare_webp(chunks)
        if chunks[0][0] != _WRAPPER:
            chunks.insert(0, (_WRAPPER, _wrapper_of(*chunks[0])))
        names = [name for name, _ in chunks]
        xmp = names.index(_XMP_NAME) if _XMP_NAME in names else len(names)
        if _EXIF_NAME not in names:
            # After the image and before XMP.
            chunks.insert(xmp, (_EXIF_NAME, payloads.build_exif(prompt)))
        else:
            packet = payloads.build_xmp(prompt, dict(chunks).get(_XMP_NAME))
            chunks[xmp : xmp + 1] = [(_XMP_NAME, packet)]
        return _write_webp(_flagged(chunks)) + rest

    @staticmethod
    def bare(data: bytes) -> bytes:
        """Takes our prompt out; see `metadata_writer.without_prompt`."""
        chunks, rest = _read_webp(data)
        chunks = _bare_webp(chunks)
        is_alone = len(chunks) == 2 and chunks[1][0] in _ALONE
        if is_alone and chunks[0] == (_WRAPPER, _wrapper_of(*chunks[1])):
            chunks = chunks[1:]
        return _write_webp(chunks) + rest


def _read_webp(data):
    """Name and content of each chunk, and the data after the file's end."""
    broken = "a WebP must be whole. Received: one that ends early"
    (size,) = struct.unpack_from("<I", data, 4)
    chunks, place, last = [], 12, 8 + size
    if last > len(data):
        raise ValueError(broken)
    while place < last:
        if place + 8 > last:
            raise ValueError(broken)
        name = data[place : place + 4]
        (size,) = struct.unpack_from("<I", data, place + 4)
        end = place + 8 + size
        if end > last:
            raise ValueError(broken)
        chunks.append((name, data[place + 8 : end]))
        # Chunks are padded to even sizes; some writers do not pad the last.
        place = end + size % 2
    names = [name for name, _ in chunks]
    has_image = any(name in (*_ALONE, _FRAME) for name in names)
    if not has_image or names[0] not in (_WRAPPER, *_ALONE):
        raise ValueError("a WebP must start with an image. Received: one without")
    if names[0] == _WRAPPER and len(chunks[0][1]) < 10:
        raise ValueError(broken)
    return chunks, data[last:]


def _write_webp(chunks):
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _bare_webp(chunks):
    kept = []
    for name, content in chunks:
        if name == _EXIF_NAME and payloads.is_our_exif(content):
            continue
        if name == _XMP_NAME:
            content = payloads.bare_xmp(content)
            if not content:
                continue
        kept.append((name, content))
    return _flagged(kept)


def _flagged(chunks):
    """Sets the flags for EXIF and XMP in the first chunk, if it has flags."""
    (first, content), *others = chunks
    if first != _WRAPPER:
        return chunks
    flags = content[0] & ~(_HAS_EXIF | _HAS_XMP)
    for name, _ in others:
        flags |= {_EXIF_NAME: _HAS_EXIF, _XMP_NAME: _HAS_XMP}.get(name, 0)
    return [(first, bytes([flags]) + content[1:]), *others]


def _wrapper_of(name, content):
    """The content of the VP8X chunk for a simple WebP."""
    if name == b"VP8L" and content[:1] == b"\x2f" and len(content) >= 5:
        (bits,) = struct.unpack_from("<I", content, 1)
        width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
        flags = _ALPHA if bits >> 28 & 1 else 0
    elif name == b"VP8 " and content[3:6] == b"\x9d\x01\x2a" and len(content) >= 10:
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", content, 6))
        width, height, flags = width - 1, height - 1, 0
    else:
        raise ValueError("a WebP must have an image of a known kind. Received: other")
    sizes = (n.to_bytes(3, "little") for n in (width, height))
    return struct.pack("<I", flags) + b"".join(sizes)
