"""Prompts in files' own bytes: read back by Pillow, with all else as it was."""

import io
import struct
import xml.etree.ElementTree

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageCms
import PIL.ImageSequence
import PIL.PngImagePlugin
import pytest

from tf_prompt.data import images, metadata_payloads, metadata_writer

PROMPT = 'eine Katze, 猫 <&> "x"'
PROFILE = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
DESCRIPTION = 0x010E
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/'
    b'02/22-rdf-syntax-ns#"><rdf:Description rdf:about="uuid:1" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt><rdf:li '
    b'xml:lang="x-default">Ferien</rdf:li></rdf:Alt></dc:description>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>   "
)


def draw(number=0, mode="RGB"):
    pixels = np.random.default_rng(number).integers(0, 256, (24, 20, 4), np.uint8)
    return PIL.Image.fromarray(pixels).convert(mode)


def encode(kind, mode="RGB", frames=1, **options):
    buffer = io.BytesIO()
    first, *others = (draw(number, mode) for number in range(frames))
    if others:
        options.update(save_all=True, append_images=others)
    first.save(buffer, kind, **options)
    return buffer.getvalue()


def camera_exif():
    """Fields of three kinds, one with a maker's bytes that nobody else understands."""
    exif = PIL.Image.Exif()
    exif[DESCRIPTION], exif[0x0112] = "OLYMPUS DIGITAL CAMERA", 6
    exif.get_ifd(PIL.ExifTags.IFD.Exif)[0x927C] = bytes(range(200))
    exif.get_ifd(PIL.ExifTags.IFD.Exif)[0x9286] = b"ASCII\0\0\0a1111: a dog"
    return exif


def png_text(**texts):
    notes = PIL.PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        notes.add_text(keyword, text)
    return notes


A1111 = "a cat\nNegative prompt: bad\nSteps: 20"
FILES = {
    "png": encode("PNG"),
    "png of a palette": encode("PNG", "P"),
    "png of A1111": encode("PNG", pnginfo=png_text(parameters=A1111)),
    "png with a description": encode("PNG", pnginfo=png_text(Description="mine")),
    "png with a profile": encode("PNG", icc_profile=PROFILE, exif=camera_exif()),
    "png of three frames": encode("PNG", frames=3),
    "png and more": encode("PNG") + b"behind",
    "jpeg": encode("JPEG"),
    "jpeg with a profile": encode("JPEG", icc_profile=PROFILE, comment=b"by hand"),
    "jpeg of a camera": encode("JPEG", exif=camera_exif(), icc_profile=PROFILE),
    "jpeg with XMP": encode("JPEG", xmp=XMP),
    "jpeg of a camera with XMP": encode("JPEG", exif=camera_exif(), xmp=XMP),
    "jpeg of scans": encode("JPEG", progressive=True),
    "jpeg of two pictures": encode("MPO", frames=2),
    "jpeg of three, with EXIF": encode("MPO", frames=3, exif=camera_exif()),
    "webp": encode("WEBP"),
    "webp without loss": encode("WEBP", lossless=True),
    "webp with alpha": encode("WEBP", "RGBA", lossless=True, exact=True),
    "webp with loss and alpha": encode("WEBP", "RGBA"),
    "webp of three frames": encode("WEBP", frames=3, icc_profile=PROFILE),
    "webp with a profile": encode("WEBP", icc_profile=PROFILE),
    "webp of a camera": encode("WEBP", exif=camera_exif()),
    "webp with XMP": encode("WEBP", xmp=XMP),
    "webp of a camera with XMP": encode("WEBP", exif=camera_exif(), xmp=XMP),
}


def frames_of(data):
    with PIL.Image.open(io.BytesIO(data)) as image:
        return [
            np.asarray(f.convert("RGBA")) for f in PIL.ImageSequence.Iterator(image)
        ]


def open_image(data):
    image = PIL.Image.open(io.BytesIO(data))
    image.load()
    return image


def read_xmp(packet):
    """The properties of a packet and their texts, by a parser of XML."""
    root = xml.etree.ElementTree.fromstring(packet.strip(b"\0 "))
    tags = {}
    abouts = set()
    for part in root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"):
        [about] = (v for k, v in part.attrib.items() if k.endswith("}about"))
        abouts.add(about)
        for field in part:
            assert field.tag not in tags
            tags[field.tag] = "".join(field.itertext()).strip()
    assert len(abouts) <= 1
    return tags


def read_prompt(data):
    """As another program would, which knows of nothing but the formats."""
    image = open_image(data)
    if image.format == "PNG":
        return image.info["Description"]
    exif = image.getexif()
    if exif.get(0x000B) == "tf_prompt":
        return exif[DESCRIPTION].encode("latin-1").decode()
    return read_xmp(image.info["xmp"])["{urn:tf-prompt:1/}prompt"]


@pytest.mark.parametrize("name", FILES)
def test_the_prompt_is_read_back_and_all_else_is_as_it_was(name):
    data = FILES[name]
    copy = metadata_writer.write_prompt(data, PROMPT)
    assert read_prompt(copy) == PROMPT
    for before, after in zip(frames_of(data), frames_of(copy), strict=True):
        np.testing.assert_array_equal(before, after)
    before, after = open_image(data), open_image(copy)
    for key, value in before.info.items():
        if key not in ("Description", "exif", "xmp", "mp", "mpoffset"):
            assert after.info[key] == value, key
    assert images.is_image(copy) and before.mode == after.mode
    fields, found = before.getexif(), after.getexif()
    if fields:
        assert before.info["exif"] == after.info["exif"]
    else:
        assert set(found) <= {0x000B, DESCRIPTION}
    if "xmp" in before.info and fields:
        kept = read_xmp(before.info["xmp"]).items()
        assert kept <= read_xmp(after.info["xmp"]).items()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("other", ["", "a", "abc", "abcd", "x" * 5000, PROMPT])
def test_a_note_of_ours_is_replaced_and_found_again(name, other):
    data = FILES[name]
    copy = metadata_writer.write_prompt(data, PROMPT)
    again = metadata_writer.write_prompt(copy, other)
    assert again == metadata_writer.write_prompt(data, other)
    assert read_prompt(again) == other
    bare = metadata_writer.without_prompt(data)
    assert metadata_writer.without_prompt(copy) == bare
    assert metadata_writer.without_prompt(again) == bare
    assert frames_of(bare)[0].tolist() == frames_of(data)[0].tolist()


def test_what_others_wrote_stays_in_the_bytes():
    data = FILES["png with a description"]
    copy = metadata_writer.write_prompt(data, PROMPT)
    assert b"tEXtDescription\0mine" in copy
    data = FILES["png of A1111"]
    copy = open_image(metadata_writer.write_prompt(data, PROMPT))
    assert copy.text == {"parameters": A1111, "Description": PROMPT}
    # Of some bytes, our packet and the whole of theirs, which has a description.
    copy = metadata_writer.write_prompt(FILES["jpeg of a camera with XMP"], PROMPT)
    tags = read_xmp(open_image(copy).info["xmp"])
    assert tags["{http://purl.org/dc/elements/1.1/}description"] == "Ferien"


def test_viewers_find_a_description_in_xmp():
    for name in ("jpeg of a camera", "webp of a camera"):
        copy = metadata_writer.write_prompt(FILES[name], PROMPT)
        tags = read_xmp(open_image(copy).info["xmp"])
        assert tags["{http://purl.org/dc/elements/1.1/}description"] == PROMPT


def sizes_of_pictures(data):
    """Where the MPF says that pictures begin and end, by Pillow's reader of it."""
    image = open_image(data)
    sizes, base = [], data.index(b"MPF\0") + 4
    for entry in image.mpinfo[0xB002]:
        start = entry["DataOffset"] and entry["DataOffset"] + base
        sizes.append((start, start + entry["Size"]))
    return sizes


@pytest.mark.parametrize("name", ["jpeg of two pictures", "jpeg of three, with EXIF"])
def test_pictures_behind_the_first_are_where_the_file_says(name):
    for data in (FILES[name], metadata_writer.write_prompt(FILES[name], PROMPT)):
        sizes = sizes_of_pictures(data)
        for start, _ in sizes:
            assert data[start : start + 3] == b"\xff\xd8\xff"
        # Pillow itself writes a wrong size of the third.
        assert sizes[0][1] == sizes[1][0]
        if len(sizes) == 2:
            assert sizes[1][1] == len(data)


def test_xmp_behind_the_table_of_pictures_moves_what_it_names():
    data = encode("MPO", frames=2, exif=camera_exif())
    [(place, end)] = [
        (place, place + 2 + struct.unpack_from(">H", data, place + 2)[0])
        for place in range(len(data) - 8)
        if data[place : place + 2] == b"\xff\xe2"
        and data[place + 4 : place + 7] == b"MPF"
    ]
    # The EXIF behind the MPF, so that ours comes behind it too.
    exif = data.index(b"\xff\xe1")
    size = 2 + struct.unpack_from(">H", data, exif + 2)[0]
    assert exif + size == place
    table, notes = bytearray(data[place:end]), data[exif:place]
    moved = bytes(table)
    # The pictures behind lie nearer to the table now, by nothing: it moved forward.
    base = place + 8
    order = "<" if data[base : base + 2] == b"II" else ">"
    for entry in sizes_of_pictures(data)[1:]:
        old = struct.pack(order + "I", entry[0] - base)
        moved = moved.replace(old, struct.pack(order + "I", entry[0] - base + size))
    data = data[:exif] + moved + notes + data[end:]
    copy = metadata_writer.write_prompt(data, PROMPT)
    for content in (data, copy):
        start, end = sizes_of_pictures(content)[1]
        assert content[start : start + 3] == b"\xff\xd8\xff" and end == len(content)
    assert metadata_writer.without_prompt(copy) == data


@pytest.mark.parametrize("kind", ["GIF", "BMP"])
def test_formats_without_room_are_named(kind):
    with pytest.raises(ValueError, match=f"^{kind} cannot hold a prompt: convert it"):
        metadata_writer.write_prompt(encode(kind), PROMPT)


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"RIFF", b"no picture", b"II*\0"])
def test_other_files_are_refused(data):
    with pytest.raises(ValueError, match="must be PNG, JPEG or WebP to hold a prompt"):
        metadata_writer.write_prompt(data, PROMPT)


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "webp with alpha"])
def test_a_file_that_ends_early_is_refused_wherever_it_ends(name):
    data = metadata_writer.write_prompt(FILES[name], PROMPT)
    for size in range(16, len(data) - 1):
        with pytest.raises(ValueError, match="(must be whole|must begin with)"):
            metadata_writer.write_prompt(data[:size], PROMPT)


@pytest.mark.parametrize("name", FILES)
def test_damage_is_a_named_failure_or_costs_nothing(name):
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(FILES[name])
        for place in rng.integers(0, min(len(damaged), 700), 3):
            damaged[place] = rng.integers(256)
        try:
            copy = metadata_writer.write_prompt(bytes(damaged), PROMPT)
        except ValueError:
            continue
        bare = metadata_writer.without_prompt(copy)
        assert bare == metadata_writer.without_prompt(bytes(damaged))


def test_damaged_pixels_of_a_png_are_refused():
    data = bytearray(FILES["png"])
    data[data.index(b"IDAT") + 20] ^= 1
    with pytest.raises(ValueError, match="a PNG must be whole. Received: .*damaged"):
        metadata_writer.write_prompt(bytes(data), PROMPT)


def test_prompts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="of a JPEG must be at most 65533 bytes"):
        metadata_writer.write_prompt(FILES["jpeg"], "x" * 70_000)
    long = metadata_writer.write_prompt(FILES["webp"], "x" * 70_000)
    assert read_prompt(long) == "x" * 70_000
    for unfit in ("a\0b", "a\x1b", "\ud800"):
        with pytest.raises(ValueError, match="must be plain text"):
            metadata_writer.write_prompt(FILES["png"], unfit)


def test_xmp_of_no_known_form_is_refused():
    data = encode("JPEG", exif=camera_exif(), xmp=b"<rdf:RDF/>")
    with pytest.raises(ValueError, match="XMP must be a packet of rdf:RDF"):
        metadata_writer.write_prompt(data, PROMPT)


def test_exif_that_others_changed_is_not_ours():
    exif = metadata_payloads.build_exif(PROMPT)
    assert metadata_payloads.is_our_exif(exif)
    for other in (
        exif + b"\0",
        exif[:-1],
        b"",
        exif.replace(b"tf_prompt", b"tf_prompx"),
    ):
        assert not metadata_payloads.is_our_exif(other)
