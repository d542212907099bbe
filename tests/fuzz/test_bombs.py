"""Small files that stand for large ones: they are refused before memory is taken."""

import io
import json
import struct
import zipfile
import zlib

import pytest

from pipelines import convert, sources, tally
from pipelines.options import Conversion
from tests.fuzz.outcomes import COUNTS, outcome_of, peak_megabytes
from tests.fuzz.readers import check_upload, predict_file
from tests.fuzz.sound_files import encoded_images
from tests.pipelines.conftest import write_zip

SMALL = Conversion(image_size=8)
# Less than any of them would take.
MAX_GROWTH = 300


@pytest.fixture(autouse=True)
def bounded():
    """No test may take more memory than this beyond what was taken before."""
    before = peak_megabytes()
    yield
    COUNTS["bombs"] += 1
    assert peak_megabytes() - before < MAX_GROWTH


def png(width, height, depth=1):
    """A black picture; a row of 1-bit pixels is width / 8 bytes."""

    def chunk(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + -(-width * depth // 8))
    rows = b"".join(
        packer.compress(row * 100) for _ in range(min(height, 10_000) // 100)
    )
    data = rows + packer.flush()
    parts = (("IHDR", header), ("IDAT", data), ("IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(n.encode(), d) for n, d in parts)


def with_sizes(data, form):
    """The largest size that a header can hold, in a sound small picture."""
    if form == "JPEG":
        place = next(i for i in range(len(data)) if data[i : i + 2] in (b"\xff\xc0",))
        return data[: place + 5] + b"\xff\xff\xff\xff" + data[place + 9 :]
    if form == "GIF":
        place = data.index(b"\x2c", 13)
        return (
            data[:6]
            + b"\xff" * 4
            + data[10 : place + 5]
            + b"\xff" * 4
            + data[place + 9 :]
        )
    if form == "BMP":
        return data[:18] + struct.pack("<ii", 2**30, 2**30) + data[26:]
    return data[:26] + b"\xff\x3f\xff\x3f" + data[30:]  # Lossy WebP: 16383 a side.


def image_bombs():
    found = {"png": png(40_000, 10_000), "wide png": png(2**31 - 1, 1)}
    for data in encoded_images():
        for form, magic in (("JPEG", b"\xff\xd8"), ("GIF", b"GIF8"), ("BMP", b"BM")):
            if data.startswith(magic) and (form != "JPEG" or b"\xff\xc0" in data):
                found[form] = with_sizes(data, form)
        if data[8:16] == b"WEBPVP8 ":
            found["WEBP"] = with_sizes(data, "WEBP")
    return found


IMAGES = image_bombs()


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_of_too_many_pixels_is_one_error_row(name, tmp_path):
    assert len(IMAGES) == 6
    path = tmp_path / "x.png"
    path.write_bytes(IMAGES[name])
    predict_file(path)
    assert outcome_of("bombs", check_upload, path) == "refused"


def convert_members(root, members):
    write_zip(root / "part-000001.zip", members)
    (part,) = sources.open_source(root).parts()
    counts = tally.Tally()
    assert not list(convert.read_records(part, SMALL, counts))
    return {cause: n for cause, n in counts.rejected.items() if n}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_of_too_many_pixels_is_a_rejected_row(name, tmp_path):
    notes = json.dumps({"x.png": {"p": "a fox"}}).encode()
    members = {"x.png": IMAGES[name], "part-000001.json": notes}
    causes = convert_members(tmp_path, members)
    assert causes in ({"too_many_pixels": 1}, {"undecodable_image": 1})


def bomb_archive(path, name, size):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(name, "w", force_zip64=True) as file:
            for _ in range(size // 2**20):
                file.write(bytes(2**20))
        if name.endswith(".png"):
            archive.writestr("x.json", json.dumps({name: {"p": "a fox"}}))


@pytest.mark.parametrize(
    "name, cause", [("x.png", "unsafe_member"), ("x.json", "unreadable_part")]
)
def test_members_that_unpack_to_much_are_not_read(tmp_path, name, cause):
    bomb_archive(tmp_path / "part-000001.zip", name, 2**29)
    (part,) = sources.open_source(tmp_path).parts()
    counts = tally.Tally()
    assert not list(convert.read_records(part, SMALL, counts))
    assert counts.rejected[cause] == 1


def test_a_member_that_lies_about_its_size_is_read_no_further(tmp_path):
    bomb_archive(tmp_path / "part-000001.zip", "x.png", 2**27)
    data = bytearray((tmp_path / "part-000001.zip").read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.getinfo("x.png").file_size == 2**27
    data = data.replace(struct.pack("<I", 2**27), struct.pack("<I", 1000))
    (tmp_path / "part-000001.zip").write_bytes(data)
    (part,) = sources.open_source(tmp_path).parts()
    counts = tally.Tally()
    assert not list(convert.read_records(part, SMALL, counts))
    assert counts.rejected.total() == 1


def test_a_compression_that_asks_for_memory_is_not_read(tmp_path):
    """LZMA takes its dictionary's size, up to 4 GB, from the file."""
    notes = json.dumps({"x.png": {"p": "a fox"}})
    path = tmp_path / "part-000001.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.png", encoded_images()[0])
        archive.writestr("x.json", notes, zipfile.ZIP_STORED)
    (part,) = sources.open_source(tmp_path).parts()
    counts = tally.Tally()
    assert not list(convert.read_records(part, SMALL, counts))
    assert counts.rejected["unsafe_member"] == 1


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path):
    path = tmp_path / "x.png"
    with open(path, "wb") as file:
        file.truncate(2**33)  # Takes no space on the disk.
    predict_file(path)
