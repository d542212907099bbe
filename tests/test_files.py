"""What a folder of others' files gets: a refusal, or what was asked for by force."""

import pytest

from tests.evaluation.report.test_report import write_run
from tf_prompt import files, report


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
