"""EXIF and XMP that contain a prompt, and how to recognise our own."""

import re
import struct
from xml.sax import saxutils

NAMESPACE = "urn:tf-prompt:1/"
_SOFTWARE = b"tf_prompt\0"
_PROCESSING_SOFTWARE, _IMAGE_DESCRIPTION, _TEXT = 0x000B, 0x010E, 2
# Header, number of fields, two fields, offset of the next directory: none.
_HEAD_SIZE = 8 + 2 + 2 * 12 + 4
_EMPTY_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="tf_prompt">\n'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    b'</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
)
_END = b"</rdf:RDF>"
_PART = re.compile(
    rb'<rdf:Description xmlns:tf_prompt="'
    + NAMESPACE.encode()
    + rb'".*?</rdf:Description>\n',
    re.DOTALL,
)
_ABOUT = re.compile(rb"""rdf:about\s*=\s*("[^"<]*"|'[^'<]*')""")


def build_exif(prompt: str) -> bytes:
    """Builds EXIF, a TIFF structure, with a prompt and the name of its writer.

    Reference: CIPA DC-008 (Exif 2.32), 4.6.2 and 4.6.4 A.
    """
    text = prompt.encode() + b"\0"
    place = _HEAD_SIZE + len(_SOFTWARE)
    # Values of at most four bytes are stored inside the field.
    value = text.ljust(4, b"\0") if len(text) <= 4 else struct.pack(">I", place)
    head = b"MM\0*" + struct.pack(">IH", 8, 2)
    head += struct.pack(">HHI", _PROCESSING_SOFTWARE, _TEXT, len(_SOFTWARE))
    head += struct.pack(">I", _HEAD_SIZE)
    head += struct.pack(">HHI", _IMAGE_DESCRIPTION, _TEXT, len(text)) + value
    head += struct.pack(">I", 0)
    return head + _SOFTWARE + (text if len(text) > 4 else b"")


def is_our_exif(tiff: bytes) -> bool:
    """Whether EXIF is an unchanged result of `build_exif`."""
    inline = tiff[30:34].split(b"\0")[0]
    for text in (tiff[_HEAD_SIZE + len(_SOFTWARE) : -1], inline):
        try:
            if build_exif(text.decode()) == tiff:
                return True
        except UnicodeDecodeError:
            pass
    return False


def build_xmp(prompt: str, packet: bytes | None = None) -> bytes:
    """Builds an XMP packet with a prompt, or adds the prompt to an existing packet.

    Args:
        prompt: the text.
        packet: existing packet in UTF-8, without a part of ours; None builds one.

    Returns:
        The packet in UTF-8.

    Raises:
        ValueError: if nothing can be added to the packet.

    Reference: ISO 16684-1 (XMP 1): 7.4, all parts of a packet have one `rdf:about`.
    """
    packet = packet or _EMPTY_PACKET
    place = packet.rfind(_END)
    if place < 0:
        raise ValueError("XMP must be a packet of rdf:RDF in UTF-8. Received: other")
    about = _ABOUT.search(packet)
    text = saxutils.escape(prompt, {"\r": "&#13;"}).encode()
    part = b'<rdf:Description xmlns:tf_prompt="' + NAMESPACE.encode() + b'" rdf:about='
    part += about[1] if about else b'""'
    part += b">\n<tf_prompt:prompt>" + text + b"</tf_prompt:prompt>\n"
    if b"dc:description" not in packet:
        part += b'<dc:description xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Alt>'
        part += b'<rdf:li xml:lang="x-default">' + text
        part += b"</rdf:li></rdf:Alt></dc:description>\n"
    return packet[:place] + part + b"</rdf:Description>\n" + packet[place:]


def read_xmp(packet: bytes) -> str | None:
    """Reads the prompt that `build_xmp` put into a packet; None if there is none."""
    begin, end = b"<tf_prompt:prompt>", b"</tf_prompt:prompt>"
    start = packet.find(begin) + len(begin)
    stop = packet.find(end, start)
    if start < len(begin) or stop < 0 or NAMESPACE.encode() not in packet:
        return None
    text = packet[start:stop].decode(errors="replace")
    return saxutils.unescape(text, {"&#13;": "\r"})


def bare_xmp(packet: bytes) -> bytes:
    """Removes our part from a packet; returns b"" if the packet has no other part."""
    bare = _PART.sub(b"", packet)
    return b"" if bare == _EMPTY_PACKET else bare
