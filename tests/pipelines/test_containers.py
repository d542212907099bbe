"""Archives that are hostile or odd."""

import json
import stat
import zipfile

import numpy as np
import pytest

from pipelines import containers
from pipelines.exploration.headers import read_headers
from pipelines.sources import open_source
from tests.pipelines.conftest import encode, write_zip


def write_member(path, name, data, attributes=0o100644, compress=zipfile.ZIP_STORED):
    member = zipfile.ZipInfo(name)
    member.external_attr = attributes << 16
    member.compress_type = compress
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, data)
    return path


@pytest.mark.parametrize(
    "name", ["/etc/a.png", "../a.png", "x/../../a.png", "..\\a.png", "\\a.png"]
)
def test_paths_that_lead_outside_are_not_safe(tmp_path, name):
    with containers.ZipImages(write_member(tmp_path / "z", name, encode())) as images:
        assert list(images.names) == ["a.png"] and not images.is_safe("a.png")


def test_plain_member_is_safe(tmp_path):
    path = write_member(tmp_path / "z", "images/a.png", encode())
    with containers.ZipImages(path) as images:
        assert images.is_safe("a.png") and images.read("a.png") == encode()


@pytest.mark.parametrize("name", ["._a.png", "__MACOSX/._a.png", ".thumbs/a.png"])
def test_hidden_members_are_no_images(tmp_path, name):
    with containers.ZipImages(write_member(tmp_path / "z", name, encode())) as images:
        assert not images.names


def test_link_is_not_safe(tmp_path):
    path = write_member(tmp_path / "z", "a.png", "/etc/passwd", stat.S_IFLNK | 0o777)
    with containers.ZipImages(path) as images:
        assert not images.is_safe("a.png")


def test_member_that_swells_is_not_safe(tmp_path):
    data = bytes(2 * 2**20)
    path = write_member(tmp_path / "z", "a.png", data, compress=zipfile.ZIP_DEFLATED)
    with containers.ZipImages(path) as images:
        assert not images.is_safe("a.png")
    path = write_member(tmp_path / "z", "a.png", data)
    with containers.ZipImages(path) as images:
        assert images.is_safe("a.png")


def test_huge_member_is_not_safe(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_MEMBER_SIZE", len(encode()) - 1)
    path = write_member(tmp_path / "z", "a.png", encode())
    with containers.ZipImages(path) as images:
        assert not images.is_safe("a.png")


def test_json_that_swells_is_an_error(tmp_path):
    data = b'{"a.png": {"p": "' + b"x" * (2 * 2**20) + b'"}}'
    path = write_member(tmp_path / "z", "p.json", data, compress=zipfile.ZIP_DEFLATED)
    with containers.ZipImages(path) as images:
        with pytest.raises(ValueError, match="p.json is not safe to read"):
            images.read_rows()


def test_settings_of_other_types_are_unknown(tmp_path):
    """One odd entry must not cost the thousand others of the part."""
    entries = {
        "a.png": {"p": "a fox", "c": "7.5", "st": 50},
        "b.png": {"p": None, "c": [], "st": {}},
        "c.png": {"p": 3, "c": 10**400, "st": "many"},
        "\ud800.png": {"p": "half a \ud83d pair"},
    }
    write_member(tmp_path / "a.zip", "part.json", json.dumps(entries).encode())
    with containers.ZipImages(tmp_path / "a.zip") as images:
        rows = images.read_rows()
    assert list(rows["image_name"]) == ["a.png", "b.png", "c.png", "?.png"]
    assert list(rows["prompt"]) == ["a fox", "", "3", "half a ? pair"]
    np.testing.assert_array_equal(rows["cfg"], [7.5, *[np.nan] * 3])
    np.testing.assert_array_equal(rows["step"], [50, *[np.nan] * 3])


def test_json_of_no_entries_has_all_columns(tmp_path):
    write_member(tmp_path / "a.zip", "part.json", b"{}")
    with containers.ZipImages(tmp_path / "a.zip") as images:
        assert list(images.read_rows()) == ["image_name", "prompt", "cfg", "step"]


def test_large_json_is_not_read(tmp_path, monkeypatch):
    """Read, it takes many times its size."""
    monkeypatch.setattr(containers, "MAX_JSON_SIZE", 10)
    write_member(tmp_path / "a.zip", "part.json", b'{"a": {"p": "x"}}')
    with containers.ZipImages(tmp_path / "a.zip") as images:
        with pytest.raises(ValueError, match="not safe"):
            images.read_rows()


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_not_safe(tmp_path, kind):
    write_member(tmp_path / "a.zip", "a.png", encode(), compress=kind)
    with containers.ZipImages(tmp_path / "a.zip") as images:
        assert not images.is_safe("a.png")


def test_a_member_without_a_name_is_none(tmp_path):
    write_member(tmp_path / "a.zip", "", b"x")
    with containers.ZipImages(tmp_path / "a.zip") as images:
        assert list(images.names) == []


def test_hidden_members_are_no_members(tmp_path):
    """A Mac keeps `__MACOSX/._NAME` beside each NAME, the last ones of an archive."""
    entries = {"a.png": {"p": "a red cat", "c": 7.0, "st": 50}}
    part = {"part-1/a.png": encode(), "part-1/.DS_Store": b"Bud1"}
    part["part-1/part-000001.json"] = json.dumps(entries).encode()
    shadows = ["__MACOSX/part-1/._a.png", "__MACOSX/part-1/._part-000001.json"]
    shadows += ["__MACOSX/part-1/a.png", "part-1/._b.json", ".trash/c.png"]
    write_zip(tmp_path / "part-000001.zip", {**part, **dict.fromkeys(shadows, b"x")})
    with containers.ZipImages(tmp_path / "part-000001.zip") as images:
        assert list(images.names) == ["a.png"] and images.is_safe("a.png")
        assert images.read("a.png") == images.open("a.png").read() == encode()
        assert list(images.read_rows()["prompt"]) == ["a red cat"]
    headers = read_headers(open_source(tmp_path))
    assert headers["files"] == 1 and not headers["unreadable"]
