import hashlib
import io
import zipfile

import pytest

from pipelines.diffusiondb.verify import CorruptFile, verify_file


def make_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"a red fox " * 9)
    return buffer.getvalue()


def test_a_whole_archive_gives_its_digest(tmp_path):
    path = tmp_path / "a.zip.part"
    path.write_bytes(make_zip())
    assert verify_file(path, ".zip") == hashlib.sha256(make_zip()).hexdigest()


# 12 and 14 are bzip2 and LZMA, where they fall on a member's method.
@pytest.mark.parametrize("change", [1, 12, 14, 0xFF])
def test_an_archive_damaged_anywhere_passes_or_is_called_corrupt(tmp_path, change):
    """No damage ends the whole run; bytes that nothing reads may be any."""
    path, content = tmp_path / "a.zip.part", make_zip()
    outcomes = set()
    for index in range(len(content)):
        path.write_bytes(content[:index] + bytes([change]) + content[index + 1 :])
        try:
            verify_file(path, ".zip")
            outcomes.add("whole")
        except CorruptFile:
            outcomes.add("corrupt")
    assert outcomes == {"whole", "corrupt"}


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"<html>PAR1", b"PAR1\0\0\0\0PAR", b"PAR1\xff\0\0\0PAR1"],
)
def test_what_is_no_parquet_is_corrupt(tmp_path, content):
    path = tmp_path / "metadata.parquet.part"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match="not a whole parquet file"):
        verify_file(path, ".parquet")


def test_a_damaged_stream_of_lzma_is_corrupt(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", bytes(range(256)))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    # Behind the header: 30 bytes, the name, and LZMA's own 9.
    data[40:60] = b"\xff" * 20
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(CorruptFile, match="not a whole zip archive"):
        verify_file(tmp_path / "a.zip", ".zip")


def test_a_name_that_is_no_utf8_is_corrupt(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("é", b"x")
    data = (tmp_path / "a.zip").read_bytes().replace("é".encode(), b"\xff\xff")
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(CorruptFile, match="not a whole zip archive"):
        verify_file(tmp_path / "a.zip", ".zip")
