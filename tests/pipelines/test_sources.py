import json
import os
import zipfile

import pytest

from pipelines import containers, sources
from pipelines.layouts import loose
from tests.pipelines.conftest import encode, write_csv, write_zip


def names_of(part):
    with part.open_images() as images:
        return sorted(images.names)


def test_2m_layout(source_2m):
    source = sources.open_source(source_2m)
    parts = list(source.parts())
    assert source.name == "diffusiondb_2m" and len(source) == 3 and not source.notes
    assert [p.index for p in parts] == [0, 1, 2]
    assert parts[1].name == "images/part-000002.zip"
    assert list(parts[1].rows["image_name"])[:2] == ["2-a.png", "2-b.png"]
    with parts[1].open_images() as images:
        assert images.names == set(parts[1].rows["image_name"])
        assert images.read("2-a.png")[:4] == b"\x89PNG"


def test_2m_layout_without_the_images_folder(source_2m):
    flat = source_2m / "images"
    (source_2m / "metadata.parquet").rename(flat / "metadata.parquet")
    source = sources.open_source(flat)
    assert source.name == "diffusiondb_2m" and not source.notes
    assert next(source.parts()).name == "part-000001.zip"


def test_large_layout_orders_parts_by_number(source_2m):
    for number, folder in ((1, "part-2"), (2, "part-1"), (3, "part-1")):
        target = source_2m / f"diffusiondb-large-{folder}"
        target.mkdir(exist_ok=True)
        name = f"part-{number:06d}.zip"
        (source_2m / "images" / name).rename(target / name)
    (source_2m / "metadata.parquet").rename(source_2m / "metadata-large.parquet")
    source = sources.open_source(source_2m)
    assert source.name == "diffusiondb_large" and not source.notes
    assert [p.name[-10:] for p in source.parts()] == ["000001.zip", "000002.zip"] + [
        "000003.zip"
    ]


def test_archives_without_metadata_give_their_own_rows(source_2m):
    (source_2m / "metadata.parquet").unlink()
    source = sources.open_source(source_2m)
    assert "no metadata parquet" in source.notes[0]
    part = next(source.parts())
    assert part.rows is None
    with part.open_images() as images:
        rows = images.read_rows()
    assert list(rows.columns) == ["image_name", "prompt", "cfg", "step"]
    assert rows["prompt"][0] == "château number x-a.png"


@pytest.mark.parametrize("text", ["[1]", '{"a.png": 3}', "{"])
def test_broken_json_of_a_part_is_an_error(tmp_path, text):
    write_zip(tmp_path / "part-000001.zip", {"part-000001.json": text.encode()})
    with containers.ZipImages(tmp_path / "part-000001.zip") as images:
        with pytest.raises(ValueError):
            images.read_rows()


def test_json_may_hold_half_a_surrogate_pair(tmp_path):
    content = json.dumps({"a.png": {"p": "fox \ud83d", "c": 7, "st": 5}}).encode()
    write_zip(tmp_path / "part-000001.zip", {"part-000001.json": content})
    with containers.ZipImages(tmp_path / "part-000001.zip") as images:
        assert images.read_rows()["prompt"][0] == "fox ?"


def test_archive_paths_must_stay_inside(tmp_path):
    names = ["a.png", "folder/b.png", "../c.png", "/d.png", "x/../../e.png"]
    names += ["..\\f.png", "__MACOSX/._a.png", "folder/"]
    write_zip(tmp_path / "part-000001.zip", dict.fromkeys(names, b""))
    with containers.ZipImages(tmp_path / "part-000001.zip") as images:
        safe = {name: images.is_safe(name) for name in images.names}
    assert safe.pop("a.png") and safe.pop("b.png")
    assert sorted(safe) == ["c.png", "d.png", "e.png", "f.png"]
    assert not any(safe.values())


def test_kaggle_layout(source_kaggle):
    (source_kaggle / "images" / "unlisted.png").write_bytes(encode())
    source = sources.open_source(source_kaggle)
    (part,) = source.parts()
    assert source.name == "kaggle" and not source.notes
    assert list(part.rows["image_name"]) == ["1a.png", "2b.png"]
    assert list(part.rows["prompt"]) == ["a red fox", 'the "old" mill, at dawn']
    assert names_of(part) == ["1a.png", "2b.png", "unlisted.png"]


def test_of_a_kaggle_folder_images_and_what_the_table_names_are_taken(source_kaggle):
    folder = source_kaggle / "images"
    for name in ("._1a.png", ".hidden.png", "Thumbs.db", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "forest.png").mkdir()
    (folder / "2b.png").rename(folder / "2b.dat")
    (part,) = sources.open_source(source_kaggle).parts()
    assert names_of(part) == ["1a.png", "2b.dat"]


def test_csv_paths_are_relative_to_its_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "ä.jpg").write_bytes(encode(encoding="JPEG"))
    rows = [("prompt", "file", "more"), ("None", "sub/ä.jpg", 1), ("b", "gone.png", 2)]
    write_csv(tmp_path / "my.csv", rows)
    (part,) = sources.open_source(tmp_path / "my.csv").parts()
    assert list(part.rows["prompt"]) == ["None", "b"]
    assert names_of(part) == ["sub/ä.jpg"]
    assert part.name == "my.csv rows 1-2"


def test_loose_files_are_cut_into_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(loose, "PART_SIZE", 2)
    rows = [("file", "prompt")] + [(f"{i}.png", f"p{i}") for i in range(5)]
    write_csv(tmp_path / "my.csv", rows)
    source = sources.open_source(tmp_path / "my.csv")
    parts = list(source.parts())
    assert len(source) == len(parts) == 3
    assert [list(p.rows["prompt"]) for p in parts] == [
        ["p0", "p1"],
        ["p2", "p3"],
        ["p4"],
    ]
    assert parts[2].name == "my.csv rows 5-5"


def test_unknown_layouts_are_listed(tmp_path):
    with pytest.raises(ValueError, match="2M.*Large.*Kaggle.*CSV") as error:
        sources.open_source(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="missing"):
        sources.open_source(tmp_path / "missing")
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="a.txt"):
        sources.open_source(tmp_path / "a.txt")


def test_two_layouts_are_refused(source_2m):
    write_zip(source_2m / "diffusiondb-large-part-1" / "part-000001.zip", {})
    with pytest.raises(ValueError, match="not both"):
        sources.open_source(source_2m)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "columns file,prompt. Received: .*, which is empty"),
        (b"file,text\na,b\n", "columns file,prompt. Received: .* with file,text"),
        (b"file,prompt\n", "must have rows"),
        (b"file,prompt\na,\xff\n", "UTF-8"),
    ],
    ids=["empty", "columns", "no rows", "latin-1"],
)
def test_bad_csv_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "my.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        sources.open_source(path)


def test_broken_archive_raises_bad_zip_file(tmp_path):
    (tmp_path / "part-000001.zip").write_bytes(b"PK\x03\x04 and no more")
    (part,) = sources.open_source(tmp_path).parts()
    with pytest.raises(zipfile.BadZipFile):
        part.open_images()


def test_prompts_with_commas_need_quotation_marks(tmp_path):
    """pandas would take the file's name for an index, and a word for the file."""
    path = tmp_path / "my.csv"
    path.write_text("file,prompt\na.png,a red fox, oil painting\n")
    with pytest.raises(ValueError, match="as many fields in each row as in its header"):
        sources.open_source(path)


def test_names_that_are_no_utf8_can_be_counted(source_kaggle):
    bad = os.fsencode(source_kaggle / "images") + b"/\xff.png"
    with open(bad, "wb") as file:
        file.write(encode())
    (part,) = sources.open_source(source_kaggle).parts()
    assert names_of(part) == ["1a.png", "2b.png", "\\udcff.png"]
