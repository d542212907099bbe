"""Names of files from a Mac or from Windows find their files."""

import json
import unicodedata

import pytest

from pipelines import sources
from pipelines.names import FileFinder, match_names
from tests.pipelines.conftest import encode, write_csv, write_zip
from tests.pipelines.test_convert import convert_all

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "listed, stored",
    [
        (f"{NFC}.png", f"{NFD}.png"),
        (f"{NFD}.png", f"{NFC}.png"),
        ("sub\\a.png", "sub/a.png"),
        (f".\\{NFC}\\x\\{NFD}.png", f"{NFD}/x/{NFC}.png"),
        ("sub/../a.png", "a.png"),
    ],
    ids=["nfc", "nfd", "backslash", "both", "up"],
)
def test_csv_rows_find_their_pictures(tmp_path, listed, stored):
    (tmp_path / "sub").mkdir()
    (tmp_path / stored).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / stored).write_bytes(encode())
    write_csv(tmp_path / "my.csv", [("file", "prompt"), (listed, "a red cat")])
    (part,) = sources.open_source(tmp_path / "my.csv").parts()
    (name,) = part.rows["image_name"]
    with part.open_images() as images:
        assert images.read(name) == encode() and len(images.names) == 1


def test_the_exact_name_comes_first(tmp_path):
    for name in (f"{NFC}.png", f"{NFD}.png", "sub\\a.png", "sub/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode())
        assert FileFinder(tmp_path).find(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "sub", "gone.png", "C:\\a.png", "x" * 5000, "a\0b.png", "../.."]
)
def test_no_file_is_none(tmp_path, name):
    (tmp_path / "sub").mkdir()
    assert FileFinder(tmp_path).find(name) is None


def test_absolute_names_work(tmp_path):
    (tmp_path / f"{NFD}.png").write_bytes(encode())
    found = FileFinder("elsewhere").find(f"{tmp_path}/{NFC}.png")
    assert found == f"{tmp_path}/{NFD}.png"


def test_kaggle_ids_find_their_pictures(source_kaggle):
    (source_kaggle / "images" / f"{NFD}.png").write_bytes(encode())
    write_csv(source_kaggle / "prompts.csv", [("imgId", "prompt"), (NFC, "a red cat")])
    (part,) = sources.open_source(source_kaggle).parts()
    assert list(part.rows["image_name"]) == [f"{NFD}.png"]


def test_members_of_archives_find_their_rows(tmp_path):
    entries = {f"{NFC}.png": {"p": "a red cat", "c": 7.0, "st": 50}}
    members = {f"{NFD}.png": encode(), "part-000001.json": json.dumps(entries).encode()}
    write_zip(tmp_path / "in" / "part-000001.zip", members)
    (stats,) = convert_all(tmp_path / "in", tmp_path / "out")
    assert sum(stats["examples"].values()) == stats["rows"] == 1


def test_names_that_are_there_are_left_as_they_are():
    names = [f"{NFC}.png", f"{NFD}.png", "gone.png"]
    assert match_names(names, names[:2]) == names
    assert match_names(names[:1], names[1:]) == [f"{NFD}.png"]
