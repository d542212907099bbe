"""Files of results: whole or resumable, and copies that carry their prompt."""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import PIL.Image
import pytest

from tf_prompt import files, predict
from tf_prompt.data import listing
from tf_prompt.inference import result_files
from tf_prompt.inference.places import Places
from tf_prompt.inference.result_files import open_table

pytestmark = pytest.mark.usefixtures("loaded_once")


def find_paths(paths, recursive):
    return listing.find_images(result_files.read_names(paths), recursive)


def kill(table):
    """Leaves a table as a killed process does: no last rename."""
    table._file.close()


FIRST = {"path": "a, b.png", "prompt": 'a "cat"', "score": -0.5}
SECOND = {"path": "ü.png", "prompt": "dog", "score": -1.0}
FAILED = {"path": "c.png", "error": "not an image"}


@pytest.mark.parametrize("as_json", [False, True], ids=["csv", "json lines"])
def test_killed_table_goes_on_and_tries_failures_again(tmp_path, as_json):
    path, identity = tmp_path / "table", {"run_dir": "r"}
    table = open_table(path, identity, as_json)
    table.add([FIRST, FAILED])
    kill(table)
    # Killed in the middle of a row.
    with open(tmp_path / "table.part", "a") as file:
        file.write('"ü.pn')
    assert not path.exists()
    with open_table(path, identity, as_json) as table:
        assert table.done == {"a, b.png"}
        for row in (FIRST, SECOND, FAILED):
            table.add([row])
    if as_json:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert rows == [FIRST, SECOND, FAILED]
    else:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["path"] for row in rows] == ["a, b.png", "ü.png", "c.png"]
        assert rows[0]["prompt"] == 'a "cat"'
        assert rows[2]["error"] == "not an image"
    assert [p.name for p in tmp_path.iterdir()] == ["table"]


def test_other_options_begin_anew(tmp_path):
    table = open_table(tmp_path / "t.csv", {"seed": 0})
    table.add([FIRST])
    kill(table)
    other = open_table(tmp_path / "t.csv", {"seed": 1})
    assert other.done == set()
    kill(other)


def test_table_needs_a_folder(tmp_path):
    with pytest.raises(ValueError, match="in a folder that exists. Received: .*absent"):
        open_table(tmp_path / "absent" / "t.csv", {})


@pytest.mark.parametrize("name", ["ein Bild.PNG", "b.jpg", "c.webp"])
def test_copy_carries_the_prompt(tmp_path, name):
    ramp = np.linspace(0, 255, 16, dtype=np.uint8)
    pixels = np.tile(ramp[:, None, None], (1, 16, 3))
    path = tmp_path / name
    PIL.Image.fromarray(pixels).save(path)
    before = path.read_bytes()
    result_files.write_copy(path, tmp_path / "copies", "eine Katze, 猫")
    assert path.read_bytes() == before
    with PIL.Image.open(tmp_path / "copies" / name) as copy:
        noted = copy.info.get("Description") or copy.getexif()[0x010E]
        same = np.abs(np.asarray(copy, int) - np.asarray(PIL.Image.open(path), int))
    # Pillow reads the bytes of an EXIF text as Latin-1.
    if not isinstance(noted, str) or "猫" not in noted:
        noted = noted.encode("latin-1").decode("utf-8")
    assert noted == "eine Katze, 猫"
    assert same.max() <= (0 if path.suffix == ".PNG" else 8)


def test_copy_never_takes_the_place_of_the_image(tmp_path):
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="another folder than the images'"):
        result_files.write_copy(tmp_path / "a.png", tmp_path, "x")


def options_of(**given):
    plain = dict.fromkeys(["sidecar", "skip_existing"], False)
    plain.update(dict.fromkeys(["write_metadata", "attention"]))
    return types.SimpleNamespace(**{**plain, **given})


def place(named, **given):
    paths = find_paths(list(map(str, named)), True)
    return Places(paths, map(str, named), options_of(**given))


def draw(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (32, 32), colour).save(path)
    return path


@pytest.fixture
def twins(tmp_path):
    """A folder of two folders with a picture of the same name each."""
    for name in ("a", "b"):
        draw(tmp_path / "in" / name / "1.png", "red" if name == "a" else "blue")
    return tmp_path / "in"


def test_copies_lie_in_the_folders_of_their_images(twins, tmp_path):
    places = place([twins], write_metadata=str(tmp_path / "out"))
    found = [str(places.below(path)) for path in places.paths]
    assert found == ["a/1.png", "b/1.png"]
    places = place([twins / "a" / "1.png"], write_metadata=str(tmp_path / "out"))
    assert str(places.below(twins / "a" / "1.png")) == "1.png"


def test_the_folder_below_which_images_lie_may_be_this_one(twins, monkeypatch):
    monkeypatch.chdir(twins / "a")
    places = place([".", "../b/1.png"], sidecar=True)
    assert [str(places.below(path)) for path in places.paths] == ["1.png", "1.png"]


def test_two_copies_of_one_name_are_refused_before_the_work(twins, tmp_path):
    a, b, out = twins / "a", twins / "b", tmp_path / "out"
    with pytest.raises(ValueError) as error:
        place([a, b], write_metadata=str(out))
    assert f"Received: {a}/1.png and {b}/1.png, both {out}/1.png" in str(error.value)
    assert not out.exists()


@pytest.mark.parametrize("flag", ["sidecar", "skip_existing"])
def test_two_images_of_one_text_file_are_refused_before_the_work(tmp_path, flag):
    draw(tmp_path / "1.png"), draw(tmp_path / "1.jpg")
    with pytest.raises(ValueError) as error:
        place([tmp_path], **{flag: True})
    assert str(error.value).startswith(f"{flag} must give each image a file of its own")
    assert f"{tmp_path}/1.jpg and {tmp_path}/1.png, both {tmp_path}/1.txt" in str(
        error.value
    )
    (tmp_path / "1.jpg").rename(tmp_path / "2.jpg")
    # What nobody can read gets no file, and may stand beside its conversion; the same
    # image may be named twice.
    (tmp_path / "2.HEIC").touch()
    places = place([tmp_path, tmp_path / "1.png"], **{flag: True})
    assert len(places.paths) == 4


def test_only_copies_of_the_same_image_are_replaced(twins, tmp_path):
    out, image = tmp_path / "out", twins / "a" / "1.png"
    copy = out / "a" / "1.png"
    for prompt in ("eins", "zwei"):
        places = place([twins], write_metadata=str(out))
        result_files.write_copy(image, out, prompt, places.below(image))
        with PIL.Image.open(copy) as image_copy:
            assert image_copy.info["Description"] == prompt
    draw(copy, "green")
    before = copy.read_bytes()
    for act in (
        lambda: place([twins], write_metadata=str(out)),
        lambda: result_files.write_copy(image, out, "drei", "a/1.png"),
    ):
        with pytest.raises(ValueError, match="not copies of these images. Received: "):
            act()
    assert copy.read_bytes() == before


def test_copies_are_not_taken_for_images_later(twins, capsys):
    draw(twins / "out" / "a" / "1.png")
    places = place([twins], write_metadata=str(twins / "out"), attention=None)
    assert len(places.paths) == 2
    assert f"1 images in {twins}/out are skipped" in capsys.readouterr().err
    with pytest.raises(ValueError, match="another folder than the images'"):
        place([twins / "out"], write_metadata=str(twins / "out"))


def test_no_half_copy_is_left(tmp_path, monkeypatch):
    image = draw(tmp_path / "a.png")
    image.write_bytes(image.read_bytes()[:-6])
    with pytest.raises(ValueError, match="a PNG must be whole"):
        result_files.write_copy(image, tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_formats_that_hold_no_prompt_are_named_and_the_rest_goes_on(
    tiny_run, twins, tmp_path, capsys
):
    for name in ("anim.gif", "z.bmp"):
        draw(twins / "a" / name)
    table, out = tmp_path / "t.csv", tmp_path / "out"
    argv = ["--run-dir", str(tiny_run), str(twins), str(twins / "a" / "z.bmp")]
    argv += ["--recursive", "--write-metadata", str(out), "--csv", str(table)]
    assert predict.main(argv) == 1
    output = capsys.readouterr()
    prompts = dict(line.split("\t") for line in output.out.splitlines())
    names = {pathlib.Path(path).name for path in prompts}
    assert names == {"1.png", "anim.gif", "z.bmp"}
    assert f"{twins}/a/anim.gif: GIF cannot hold a prompt: convert it" in output.err
    assert "z.bmp: BMP cannot hold a prompt: convert it" in output.err
    rows = files.read_rows(table)
    assert {row["path"]: row["prompt"] for row in rows} == prompts
    errors = [row["path"] for row in rows if row["error"]]
    assert {pathlib.Path(path).suffix for path in errors} == {".gif", ".bmp"}
    copies = [path for path in out.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(out)) for path in copies) == [
        "a/1.png",
        "b/1.png",
    ]
    for path in copies:
        with PIL.Image.open(path) as image:
            noted = image.info["Description"]
        assert noted == prompts[str(twins / path.relative_to(out))]
    # Nothing but copies failed: prompts were written.
    argv = ["--run-dir", str(tiny_run), str(twins / "a" / "anim.gif"), "--json"]
    assert predict.main([*argv, "--write-metadata", str(out)]) == 1
    row = json.loads(capsys.readouterr().out)
    assert set(row) == {"path", "prompt", "score", "error"}


def test_paths_come_from_standard_input_too(tmp_path, monkeypatch):
    names = ["zwei Wörter.png", "B.JPG", "inner/c.webp"]
    (tmp_path / "inner").mkdir()
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "link.png").symlink_to(tmp_path / names[0])
    listed = "".join(f"{tmp_path / name}\n" for name in names[:2]) + "\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(listed))
    found = find_paths(["-"], False)
    assert [path.name for path in found] == names[:2]
    found = find_paths([str(tmp_path)], True)
    assert len(found) == 4
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(FileNotFoundError, match="no line on stdin"):
        find_paths(["-"], False)


def test_home_is_written_out_on_standard_input(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO("~/a.png\n"))
    assert find_paths(["-"], False) == [tmp_path / "a.png"]


def test_names_on_standard_input_are_those_of_the_disk(tmp_path, monkeypatch):
    """Whatever the console's own encoding is."""
    path = tmp_path / "森 é.png"
    path.touch()
    given = io.TextIOWrapper(io.BytesIO(f"{path}\n".encode()), "ascii")
    monkeypatch.setattr("sys.stdin", given)
    assert find_paths(["-"], False) == [path]


def test_failures_are_said_at_the_end(capsys):
    result_files.report_failures([FAILED] * 12, 13)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "predict: 12 files failed"
    assert lines[1:] == ["  c.png: not an image"] * 10


def test_folder_is_gone_through_to_the_end(tiny_run, tmp_path, capsys):
    """A broken file and one that no one here can read cost only themselves."""
    folder = tmp_path / "bilder"
    folder.mkdir()
    pixels = np.full((32, 32, 3), 200, np.uint8)
    for name in ("a.png", "b ü.JPG", "d.webp"):
        PIL.Image.fromarray(pixels).save(folder / name)
    (folder / "c.png").write_text("no picture")
    (folder / "e.HEIC").write_bytes(b"ftypheic")
    argv = ["--run-dir", str(tiny_run), str(folder), "--batch-size", "2"]
    table = tmp_path / "t.jsonl"
    argv += ["--jsonl", str(table), "--write-metadata", str(tmp_path / "copies")]
    assert predict.main([*argv, "--sidecar"]) == 1
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 3
    assert "e.HEIC: HEIC cannot be read: convert it to PNG or JPEG" in output.err
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    assert [("error" in row) for row in rows] == [False, False, True, False, True]
    written = {path.name for path in (tmp_path / "copies").iterdir()}
    assert written == {"a.png", "b ü.JPG", "d.webp"}
    # Only those without a text file beside them are left: both fail again.
    assert predict.main([*argv, "--skip-existing"]) == 1


def test_two_processes_write_no_table_together(tiny_run, tmp_path, capsys):
    PIL.Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    table = tmp_path / "t.csv"
    argv = ["--run-dir", str(tiny_run), str(tmp_path / "a.png"), "--csv", str(table)]
    code = (
        "import sys, time; from tf_prompt.runs import lock\n"
        "with lock.hold_file(sys.argv[1]):\n    print('held', flush=True)\n"
        "    time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(table)], stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "held\n"
        assert predict.main(argv) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"Received: {table}, which process {other.pid} on " in line
        other.kill()
    assert (tmp_path / "t.csv.lock").exists() and not table.exists()
    # That of a killed process is no obstacle.
    assert predict.main(argv) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "t.csv"}


def test_one_file_is_no_csv_and_json_lines_at_once(tiny_run, tmp_path, capsys):
    PIL.Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    both = str(tmp_path / "t")
    argv = ["--csv", both, "--jsonl", both, str(tmp_path / "a.png")]
    assert predict.main(["--run-dir", str(tiny_run), *argv]) == 2
    assert "must not be in use. Received: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["absent/t.csv", "folder", "pipe"])
def test_a_table_that_cannot_be_is_one_line(tiny_run, tmp_path, capsys, name):
    os.mkfifo(tmp_path / "pipe")
    os.mkdir(tmp_path / "folder")
    PIL.Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    argv = [str(tmp_path / "a.png"), "--csv", str(tmp_path / name)]
    assert predict.main(["--run-dir", str(tiny_run), *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must be in a folder that exists. Received: " in line
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "folder", "pipe"}


def test_results_beside_an_image_are_wanted(tmp_path):
    options = types.SimpleNamespace(sidecar=False, write_metadata=None)
    result_files.write_beside({**FIRST, "path": str(tmp_path / "a.png")}, options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("as_json", [False, True], ids=["csv", "json lines"])
@pytest.mark.parametrize(
    "content",
    [b"[1]\n", b'{"prompt": "x"}\n', b"path,prompt,score,error\nx\n", b"a\nb,c\n"]
    + [b"\xff\n", b"[" * 100_000 + b"\n", b'{"path": 3}\n', b"{\n"],
    ids=lambda content: str(content[:12]),
)
def test_a_damaged_table_is_begun_anew(tmp_path, as_json, content):
    kill(open_table(tmp_path / "table", {}, as_json))
    (tmp_path / "table.part").write_bytes(content)
    with open_table(tmp_path / "table", {}, as_json) as table:
        assert table.done == set()
        table.add([FIRST])
    assert "a, b.png" in (tmp_path / "table").read_text(encoding="utf-8")


@pytest.mark.parametrize("as_json", [False, True], ids=["csv", "json lines"])
def test_names_with_other_line_breaks_survive_a_kill(tmp_path, as_json):
    names = {"a\u2028b.png", "c\x85d.png", "e\rf.png"}
    table = open_table(tmp_path / "table", {}, as_json)
    for name in names:
        table.add([{**FIRST, "path": name}])
    kill(table)
    with open_table(tmp_path / "table", {}, as_json) as table:
        assert table.done == names


# What tf_prompt at 23feb14 had on the disk when it was killed in its third row.
OLD_PARTS = {
    False: b'path,prompt,score,error\r\n"a, b.png","a ""cat""",-0.5,\r\n'
    b'c.png,,,not an image\r\n"\xc3\xbc.pn',
    True: b'{"path": "a, b.png", "prompt": "a \\"cat\\"", "score": -0.5}\n'
    b'{"path": "c.png", "error": "not an image"}\n{"path": "\xc3\xbc.pn',
}


@pytest.mark.parametrize("as_json", [False, True], ids=["csv", "json lines"])
def test_what_the_version_before_left_is_gone_on_with(tmp_path, as_json):
    (tmp_path / "table.part").write_bytes(OLD_PARTS[as_json])
    (tmp_path / "table.part.json").write_bytes(b'{\n  "seed": 0\n}\n')
    with open_table(tmp_path / "table", {"seed": 0}, as_json) as table:
        assert table.done == {"a, b.png"}
        table.add([FIRST, FAILED, SECOND])
    rows = files.read_rows(tmp_path / "table", as_json=as_json)
    assert [row["path"] for row in rows] == ["a, b.png", "c.png", "ü.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["table"]
