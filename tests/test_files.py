"""Files that are whole or as they were."""

import os

import pytest

from tf_prompt import files


@pytest.mark.parametrize("keep_ending", [False, True])
def test_a_file_that_fails_leaves_no_half(tmp_path, keep_ending):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        with files.replacing(path, keep_ending) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"before"
    with files.replacing(path, keep_ending) as temporary:
        # Two processes write two files; the last one to end stays.
        assert f".{os.getpid()}.part" in temporary.name
        assert (temporary.suffix == ".png") == keep_ending
        temporary.write_bytes(b"whole")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"whole"]


def test_an_error_is_told_where_nothing_was_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        files.write_whole(tmp_path / "absent" / "a", b"")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.write_whole(tmp_path / "file" / "a", b"")


def test_half_files_of_the_killed_go_and_no_others(tmp_path):
    killed = {"a.csv.77.part", "best.123.part.keras"}
    kept = {"a.csv", "best.keras", "a.csv.part", "a.csv.part.json", "a.zip.part.etag"}
    for name in killed | kept:
        (tmp_path / name).touch()
    files.remove_half_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
