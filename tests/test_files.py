"""Files that are whole or as they were, and tables that go on."""

import os
import subprocess
import sys

import pytest

from tests.evaluation.report.test_report import write_run
from tf_prompt import files, report
from tf_prompt.files import ResumableTable


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


def test_import_leaves_csv_as_it_is():
    code = "import csv; from tf_prompt import files; print(csv.field_size_limit())"
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(output.stdout) == 131072


COLUMNS = ("path", "words", "error")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_table_that_fails_before_its_first_row_leaves_nothing(tmp_path, as_json):
    with pytest.raises(KeyboardInterrupt):
        with ResumableTable(tmp_path / "t", {}, COLUMNS, as_json=as_json):
            raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_finished_table_stays_where_another_fails(tmp_path):
    """Its rows must not pass for those of the other identity."""

    def open_table(way):
        return ResumableTable(
            tmp_path / "t.csv",
            {"way": way},
            COLUMNS,
            identity_path=tmp_path / "t.json",
        )

    with open_table("a") as table:
        table.add([{"path": "x"}])
    before = (tmp_path / "t.csv").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        with open_table("b"):
            raise KeyboardInterrupt
    assert (tmp_path / "t.csv").read_bytes() == before
    with open_table("b") as table:
        assert table.num_done == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_rows_before_a_damaged_one_are_kept(tmp_path, as_json):
    rows = [{"path": f"{i}", "words": "é", "error": ""} for i in range(3)]
    with pytest.raises(KeyboardInterrupt):
        with ResumableTable(tmp_path / "t", {}, COLUMNS, as_json=as_json) as table:
            table.add(rows)
            raise KeyboardInterrupt
    part = tmp_path / "t.part"
    # A byte that is no UTF-8, in the row of the middle.
    part.write_bytes(part.read_bytes().replace(b"1", b"\xff"))
    with ResumableTable(tmp_path / "t", {}, COLUMNS, as_json=as_json) as table:
        assert table.num_done == 1
        table.add(rows[1:])
    assert files.read_rows(tmp_path / "t", as_json=as_json) == rows


def test_a_table_of_other_columns_begins_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with ResumableTable(tmp_path / "t", {}, COLUMNS) as table:
            table.add([{"path": "x"}])
            raise KeyboardInterrupt
    with ResumableTable(tmp_path / "t", {}, ("path", "score")) as table:
        assert table.num_done == 0


def test_names_are_few_and_counted():
    assert files.name_some({"b", "a", "c"}) == "a, b, c"
    assert files.name_some("edcba", 2) == "a, b and 3 more"


@pytest.mark.parametrize(
    "name, is_half",
    [("a.json.77.part", True), ("a.json.part", True), ("a.json", False)]
    + [("a.json.x.part", False), ("b.json.77.part", False), ("a.json.77.parts", False)],
)
def test_half_files_are_those_of_the_names(name, is_half):
    assert files.is_half_file(name, {"a.json"}) is is_half
    assert files.belongs(name, {"a.json"}) is (is_half or name == "a.json")


def test_commands_keep_apart_what_they_wrote(tmp_path):
    files.note_files(tmp_path, "one", {"b", "a"}, path="x")
    files.note_files(tmp_path, "two", ["c"])
    files.note_files(tmp_path, "two", ["d"])
    assert files.read_manifest(tmp_path) == {
        "one": {"path": "x", "files": ["a", "b"]},
        "two": {"files": ["d"]},
    }


def test_a_broken_link_is_present(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "absent")
    assert files.find_present(tmp_path, ["b", "a"]) == ["a"]


def test_report_replaces_files_of_others_by_force_alone(tmp_path, capsys):
    folder, out = write_run(tmp_path / "run"), tmp_path / "out"
    out.mkdir()
    for name in ("curves.png", "report.md", "notes.md"):
        (out / name).write_text("# mine")
    argv = ["--run-dir", str(folder), "--output", str(out)]
    assert report.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Received: {out} with curves.png, report.md; --force" in line
    assert (out / "curves.png").read_text() == "# mine"
    assert report.main([*argv, "--force"]) == 0
    assert "--force replaces curves.png, report.md in" in capsys.readouterr().err
    assert report.main(argv) == 0
    assert (out / "notes.md").read_text() == "# mine"
