import json

import pytest

from pipelines.diffusiondb.manifest import Entry, Manifest


def entry(number):
    return Entry(bytes=number, sha256=f"{number:064x}", url=f"http://host/{number}")


def test_what_was_noted_survives_a_kill_and_a_torn_line(tmp_path):
    with Manifest(tmp_path) as manifest:
        manifest.add("a.zip", entry(1))
        manifest.add("b.zip", entry(2))
    journal = tmp_path / "manifest.json.part"
    journal.write_text(journal.read_text()[:-9])
    with Manifest(tmp_path) as manifest:
        assert manifest.get("a.zip") == entry(1) and manifest.get("b.zip") is None
        manifest.add("c.zip", entry(3))
    with Manifest(tmp_path) as manifest:
        assert manifest.get("a.zip") == entry(1) and manifest.get("c.zip") == entry(3)


def test_the_journal_goes_into_the_manifest(tmp_path):
    for name in ("b.zip", "a.zip"):
        (tmp_path / name).touch()
        with Manifest(tmp_path) as manifest:
            manifest.add(name, entry(1))
            manifest.write()
    assert [path.name for path in tmp_path.glob("manifest*")] == ["manifest.json"]
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert list(files) == ["a.zip", "b.zip"]
    assert files["a.zip"] == {
        "bytes": 1,
        "sha256": "0" * 63 + "1",
        "url": "http://host/1",
    }


def test_a_half_written_manifest_is_removed(tmp_path):
    (tmp_path / "manifest.json.123.part").write_text("{")
    with Manifest(tmp_path) as manifest:
        manifest.write()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    "line",
    [b"1", b'"a"', b"[]", b"{}", b'{"name": "b"}', b'{"name": [], "bytes": 1}']
    + [b"\xff", b"[" * 100_000, b'{"name": "b", "bytes": 1, "sha256": "", "x": 1}'],
    ids=lambda line: str(line[:12]),
)
def test_a_damaged_line_of_the_journal_costs_no_other(tmp_path, line):
    with Manifest(tmp_path) as manifest:
        manifest.add("a.zip", entry(1))
    with open(tmp_path / "manifest.json.part", "ab") as file:
        file.write(b"\n" + line)
    with Manifest(tmp_path) as manifest:
        assert manifest.get("a.zip") == entry(1) and manifest.get("b") is None


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"files": []}', '{"files": {"a": 1}}']
)
def test_a_foreign_manifest_is_one_line(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="Received: .*manifest.json"):
        Manifest(tmp_path)
