"""Archives that are hostile or odd."""

import stat
import zipfile

import pytest

from pipelines import containers
from tests.pipelines.conftest import encode


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
