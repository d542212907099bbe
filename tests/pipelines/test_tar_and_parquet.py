"""Odd, damaged and hostile tars and parquet files; and conversions of them killed."""

import io
import json
import subprocess
import sys
import tarfile

import pyarrow
import pyarrow.parquet
import pytest

from pipelines import sources
from pipelines.fields import ColumnNames
from pipelines.layouts import parquet
from tests.pipelines.conftest import encode
from tests.pipelines.samples import (
    PROMPTS,
    encoded,
    tar_members,
    write_img2dataset,
    write_parquet,
    write_tar,
    write_webdataset,
)
from tests.pipelines.test_convert import contents, convert_all, read_all
from tests.pipelines.test_write_records import errors_of, kill_often, run

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")


def read_part(part):
    """Image names and prompts of a part."""
    rows = part.read_rows()
    return dict(zip(rows["image_name"], rows["prompt"], strict=True))


def open_tar(path, members, **columns):
    write_tar(path, members)
    (part,) = sources.open_source(path, None, ColumnNames(**columns)).parts()
    return part


def test_members_of_a_key_are_a_sample(tmp_path):
    members = {
        "a/1.jpg": encode(),
        "a/1.json": b'{"prompt": "of json", "steps": 7}',
        "b/1.seg.png": encode(),
        "b/1.txt": "\ufeffa \u00e9 \n".encode(),
        "c.webp": encode(),
        "._c.txt": b"of a Mac",
        "d.txt": b"no image",
        "e.cls": b"5",
        "f.JPG": encode(),
        "f.caption": b"capital",
    }
    part = open_tar(tmp_path / "x.tar", members)
    assert read_part(part) == {
        "a/1.jpg": "of json",
        "b/1.seg.png": "a \u00e9",
        "d": "no image",
        "f.JPG": "capital",
    }
    assert part.read_rows()["step"].tolist()[0] == 7
    (stats,) = convert_all(tmp_path / "x.tar", tmp_path / "out")
    assert stats["dropped"]["few_steps"] == 1
    assert stats["rejected_examples"] == {
        "no_prompt": ["c.webp"],
        "row_without_image": ["d"],
    }


def test_columns_name_endings_and_fields_of_json(tmp_path):
    members = {"1.input.png": encode(), "1.jpg": b"other"}
    members["1.json"] = b'{"prompt": "wrong", "alt": "right"}'
    part = open_tar(tmp_path / "x.tar", members, image="input.png", prompt="alt")
    assert read_part(part) == {"1.input.png": "right"}


def test_links_and_outside_places_are_not_read(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("1.png", tarfile.SYMTYPE), ("2.png", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name in ("../3.png", "/4.png", "5.png"):
            member = tarfile.TarInfo(name)
            member.size = len(encode())
            archive.addfile(member, io.BytesIO(encode()))
        for name in ("1.txt", "2.txt", "../3.txt", "/4.txt", "5.txt"):
            member = tarfile.TarInfo(name)
            member.size = 5
            archive.addfile(member, io.BytesIO(b"a cat"))
    (stats,) = convert_all(tmp_path / "x.tar", tmp_path / "out")
    assert stats["rejected"]["unsafe_member"] == 4
    (record,) = sum(read_all(tmp_path / "out").values(), [])
    assert record["image_id"] == b"5.png"


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_tar_that_is_cut_is_an_unreadable_part(tmp_path, ending, share, capsys):
    whole = tmp_path / f"x{ending}"
    write_tar(whole, tar_members(range(8)))
    data = whole.read_bytes()
    if ending == ".tar":
        # Without the blocks of zeros at the end.
        with tarfile.open(whole) as archive:
            blocks = sum(1 - (-member.size // 512) for member in archive)
        data = data[: 512 * blocks]
    whole.write_bytes(data[: int(len(data) * share)])
    assert run(tmp_path, tmp_path / "out", "--layout", "webdataset") in (1, 2)
    assert "unreadable_part" in errors_of(capsys)[-1]


def test_a_tar_whose_header_is_damaged_is_unreadable(tmp_path):
    write_tar(tmp_path / "x.tar", tar_members(range(8)))
    data = bytearray((tmp_path / "x.tar").read_bytes())
    data[data.index(b"000000003.jpg")] ^= 1
    (tmp_path / "x.tar").write_bytes(data)
    (stats,) = convert_all(tmp_path / "x.tar", tmp_path / "out")
    assert stats["rejected"]["unreadable_part"] == 1


@pytest.mark.parametrize("text", ["{", "[1]", '{"prompt": null}', "[" * 5000])
def test_json_that_tells_nothing_is_no_prompt(tmp_path, text):
    members = {"1.png": encode(), "1.json": text.encode()}
    part = open_tar(tmp_path / "x.tar", members)
    assert read_part(part) == {}


def write_table(path, columns, **options):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary()])
def test_plain_bytes_are_named_by_number(tmp_path, kind):
    images = pyarrow.array([encoded(i) for i in range(3)], kind)
    path = write_table(tmp_path / "x.parquet", {"jpg": images, "caption": PROMPTS[:3]})
    (part,) = sources.open_source(path).parts()
    names = [f"x.parquet/{n:06d}" for n in range(3)]
    assert read_part(part) == dict(zip(names, PROMPTS, strict=False))
    with part.open_images() as images:
        # Also backwards, at the cost of reading again.
        assert [images.read(n) for n in names[::-1]] == [encoded(i) for i in (2, 1, 0)]


def test_equal_paths_name_no_image(tmp_path):
    images = [{"bytes": encoded(i), "path": "image.png"} for i in range(2)]
    columns = {"image": images, "text": [["first", "second"], []]}
    (part,) = sources.open_source(write_table(tmp_path / "x.parquet", columns)).parts()
    assert read_part(part) == {"x.parquet/000000": "first", "x.parquet/000001": ""}


def test_an_image_without_bytes_is_one_rejection(tmp_path):
    images = [{"bytes": encoded(0), "path": None}, {"bytes": None, "path": "/etc/x"}]
    path = write_table(tmp_path / "x.parquet", {"image": images, "prompt": PROMPTS[:2]})
    (stats,) = convert_all(path, tmp_path / "out")
    assert stats["rejected"]["undecodable_image"] == 1
    assert sum(stats["examples"].values()) == 1


def test_a_parquet_without_rows_is_one_line(tmp_path, capsys):
    images = pyarrow.array([], pyarrow.binary())
    prompts = pyarrow.array([], pyarrow.string())
    path = write_table(tmp_path / "x.parquet", {"image": images, "prompt": prompts})
    assert run(path, tmp_path / "out") == 2
    (line,) = errors_of(capsys)
    assert line.endswith("must give at least one record. Received: 0 rows")


def test_row_groups_make_parts_of_a_thousand_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "PART_SIZE", 3)
    root = write_parquet(tmp_path, per_file=8, per_group=2)
    parts = list(sources.open_source(root).parts())
    assert [p.name.partition(" ")[2] for p in parts] == [
        "row groups 1-2",
        "row groups 3-4",
    ]
    assert [len(p.read_rows()) for p in parts] == [4, 4]
    assert [p for part in parts for p in read_part(part).values()] == list(PROMPTS)


def test_the_names_of_files_say_the_splits(tmp_path, capsys):
    write_parquet(tmp_path / "in", per_file=4)
    data = tmp_path / "in" / "data"
    (data / "train-00001-of-00002.parquet").rename(data / "test-00000-of-00001.parquet")
    run(tmp_path / "in", tmp_path / "out", "--split-column", "split")
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["examples"] == {"train": 4, "validation": 0, "test": 4}


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"prompt": ["a"], "picture": ["b"]}, "must have a column of image bytes"),
        ({"image": [b"x"], "words": ["b"]}, "must have a column prompt, text, caption"),
    ],
)
def test_a_parquet_without_images_or_prompts_is_one_line(tmp_path, columns, message):
    path = write_table(tmp_path / "x.parquet", columns)
    with pytest.raises(ValueError, match=message):
        sources.open_source(path)


@pytest.mark.parametrize("place", [40, -40])
def test_a_damaged_parquet_is_one_line_or_an_unreadable_part(tmp_path, place):
    path = write_parquet(tmp_path, per_file=8) / "data" / "train-00000-of-00001.parquet"
    data = bytearray(path.read_bytes())
    data[place : place + 30] = b"\xff" * 30
    path.write_bytes(data)
    try:
        stats = convert_all(path, tmp_path / "out")
    except ValueError as error:
        assert str(path) in str(error)
    else:
        lost = sum(sum(part["rejected"].values()) for part in stats)
        assert lost or sum(sum(p["examples"].values()) for p in stats) == 8


def test_parquet_and_folders_of_img2dataset_are_read(tmp_path):
    table = {"jpg": [encoded(i) for i in range(8)], "caption": list(PROMPTS)}
    (tmp_path / "parquet").mkdir()
    write_table(tmp_path / "parquet" / "00000.parquet", table)
    (tmp_path / "parquet" / "00000_stats.json").write_text("{}")
    write_img2dataset(tmp_path / "files")
    for tar in (tmp_path / "files").glob("*.tar"):
        with tarfile.open(tar) as archive:
            archive.extractall(tar.with_suffix(""), filter="data")
        tar.unlink()
    for name in ("parquet", "files"):
        source = sources.open_source(tmp_path / name)
        assert source.name == "img2dataset"
        prompts = [p for part in source.parts() for p in read_part(part).values()]
        assert prompts == list(PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_webdataset, write_parquet])
def test_killed_at_any_moment_it_ends_as_a_clean_run(write, tmp_path):
    source, clean, killed = (
        write(tmp_path / "in"),
        tmp_path / "clean",
        tmp_path / "killed",
    )
    run(source, clean)
    command = [sys.executable, "-m", "pipelines.write_records"]
    command += ["--source", source, "--output", killed, "--image-size", "16"]
    assert kill_often([*command, "--processes", "1"], killed, 6)
    subprocess.run([*command, "--processes", "2"], check=True, capture_output=True)
    assert contents(killed) == contents(clean)
