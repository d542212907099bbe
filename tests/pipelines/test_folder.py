"""What commands do to a folder that holds something already."""

import json
import os
import zipfile

import pytest

from pipelines import inspect
from tests.pipelines.conftest import encode, make_row, write_csv, write_source
from tests.pipelines.test_convert import contents
from tests.pipelines.test_write_records import errors_of, run
from tf_prompt.data.split import SPLITS
from tf_prompt.files import MANIFEST

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")
MINE = '{"mine":1}\n'


@pytest.fixture
def source_csv(tmp_path):
    """One picture and its prompt."""
    folder = tmp_path / "of my own"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode())
    write_csv(folder / "small.csv", [("file", "prompt"), ("a.png", "a red cat")])
    return folder / "small.csv"


def snapshot(folder):
    """Every file below a folder, with its bytes and when it was changed."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def is_refused(source, output, capsys, *flags):
    """Runs the command, which must change nothing and say one line; gives that."""
    before = snapshot(output)
    assert run(source, output, *flags) == 2
    (line,) = errors_of(capsys)
    assert snapshot(output) == before
    return line


def test_unpacked_parts_and_own_files_stay(tmp_path, capsys):
    """The folder is the source as well, and its JSON is named like ours."""
    entries = {"a.png": {"p": "a red cat", "se": 1, "c": 7.0, "st": 50}}
    members = {"a.png": encode(), "part-000001.json": json.dumps(entries).encode()}
    work = write_source(tmp_path / "work", [], members, metadata=False)
    zipfile.ZipFile(work / "images" / "part-000001.zip").extractall(work)
    for name in ("stats", "dataset_info", "features"):
        (work / f"{name}.json").write_text(MINE)
    line = is_refused(work, work, capsys)
    assert line == (
        "write_records: error: output must be new, empty, or what write_records made "
        f"of this source. Received: {work} with a.png, dataset_info.json, "
        "features.json and 3 more; --force replaces dataset_info.json, "
        "features.json, stats.json, leaves the others"
    )
    kept = {name: (work / name).read_bytes() for name in members}
    assert run(work, work, "--force") == 0
    (line, *_) = errors_of(capsys)
    assert line == (
        "write_records: --force replaces dataset_info.json, features.json, "
        f"stats.json in {work}"
    )
    assert {name: (work / name).read_bytes() for name in members} == kept


def test_one_own_file_is_enough(source_csv, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "stats.json").write_text(MINE)
    line = is_refused(source_csv, out, capsys)
    assert f"{out} with stats.json; --force replaces stats.json" in line
    (out / "stats.json").rename(out / "notes.txt")
    assert "notes.txt; --force leaves them there" in is_refused(source_csv, out, capsys)
    assert run(source_csv, out, "--force") == 0
    assert errors_of(capsys) == []
    # In a finished conversion too: a file of this name is not accounted for.
    is_refused(source_csv, out, capsys)
    assert (out / "notes.txt").read_text() == MINE


def test_shards_of_another_source_go_by_force_alone(
    source_2m, source_csv, tmp_path, capsys
):
    out = tmp_path / "out"
    run(source_2m, out)
    capsys.readouterr()
    shards = [p.name for p in out.glob("*.tfrecord")]
    line = is_refused(source_csv, out, capsys)
    assert f"diffusiondb_2m {source_2m}, not of csv {source_csv}; --force" in line
    (out / "train-mine.csv").write_text(MINE)
    assert run(source_csv, out, "--force") == 0
    (line,) = errors_of(capsys)
    going = sorted([*shards, "stats.json", "rejects.csv", "dataset_info.json"])
    num_going = len(shards) + 4 + 3
    assert f"--force replaces {going[0]}" in line
    assert f"and {num_going - 10} more in {out}" in line and line.count(",") == 9
    left = {p.name.partition("-")[2] for p in out.glob("*.tfrecord")}
    assert left == {"00000.tfrecord"}
    assert (out / "train-mine.csv").read_text() == MINE
    assert json.loads((out / "stats.json").read_text())["source"] == "csv"
    (out / "train-mine.csv").unlink()
    assert run(source_csv, out) == 0


def test_other_flags_redo_the_same_source(source_2m, tmp_path):
    out = tmp_path / "out"
    run(source_2m, out)
    before = contents(out)
    assert run(source_2m, out, "--image-size", "24") == 0
    after = contents(out)
    assert after.keys() == before.keys()
    assert not any(after[n] == before[n] for n in before if n.endswith(".tfrecord"))


def test_what_fit_keeps_beside_shards_is_no_stranger(source_csv, tmp_path):
    out = tmp_path / "out"
    run(source_csv, out)
    caches = [out / name / "0a1b" / "x.json" for name in ("embeddings", "features")]
    for path in caches:
        path.parent.mkdir(parents=True)
        path.write_text(MINE)
    assert run(source_csv, out, "--image-size", "24") == 0
    assert [path.read_text() for path in caches] == [MINE, MINE]


def test_a_source_that_moved_is_the_same(source_2m, tmp_path):
    out = tmp_path / "out"
    run(source_2m, out)
    source_2m.rename(tmp_path / "elsewhere")
    before = snapshot(out)
    assert run(tmp_path / "elsewhere", out) == 0
    after = snapshot(out)
    unchanged = {p.name for p in before if after[p] == before[p]}
    assert {name for name in unchanged if "-0000" in name} == {
        path.name for path in before if "-0000" in path.name
    }
    assert str(tmp_path / "elsewhere") in (out / MANIFEST).read_text()


def test_equal_names_and_sizes_are_not_the_same_source(source_csv, tmp_path, capsys):
    run(source_csv, tmp_path / "out")
    capsys.readouterr()
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes(encode())
    write_csv(other / "small.csv", [("file", "prompt"), ("a.png", "a big dog")])
    is_refused(other / "small.csv", tmp_path / "out", capsys)


def test_where_no_shard_is_left_another_source_is_welcome(
    source_2m, source_csv, tmp_path
):
    out = tmp_path / "out"
    run(source_2m, out)
    for path in out.iterdir():
        if path.name != MANIFEST:
            path.unlink()
    assert run(source_csv, out) == 0


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_folder_of_an_earlier_version_is_gone_on_with(
    source_2m, tmp_path, is_finished
):
    out = tmp_path / "out"
    run(source_2m, out)
    before = contents(out)
    (out / MANIFEST).unlink()
    (out / "part-00001.json").unlink()
    if not is_finished:
        (out / "stats.json").unlink()
        (out / "part-00002.json").unlink()
        (out / "train-00002.tfrecord.77.part").touch()
    for path in out.iterdir():
        os.utime(path, (1, 1))
    assert run(source_2m, out) == 0
    assert contents(out) == before
    old = {path.name for path in out.iterdir() if path.stat().st_mtime == 1}
    kept = ("-00000.", "-00002.") if is_finished else ("-00000.",)
    assert old == {name for name in before if any(k in name for k in kept)}


def test_a_folder_of_an_earlier_version_may_get_other_flags(source_2m, tmp_path):
    out = tmp_path / "out"
    run(source_2m, out)
    (out / MANIFEST).unlink()
    assert run(source_2m, out, "--image-size", "24", "--no-square") == 0
    assert json.loads((out / "stats.json").read_text())["flags"]["image_size"] == 24


def test_a_folder_of_an_earlier_version_is_not_another_sources(
    source_2m, source_csv, tmp_path, capsys
):
    out = tmp_path / "out"
    run(source_2m, out)
    capsys.readouterr()
    (out / MANIFEST).unlink()
    line = is_refused(source_csv, out, capsys)
    assert "those of diffusiondb_2m of an earlier version, not of csv" in line
    (out / "stats.json").unlink()
    is_refused(source_csv, out, capsys)
    assert run(source_csv, out, "--force") == 0
    assert sorted(out.glob("part-*")) == [out / "part-00000.json"]
    assert len(list(out.glob("*.tfrecord"))) == 1


def test_stats_of_another_program_make_no_conversion(source_csv, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    sound = {"dropped": {}, "rejected": {}, "rejected_examples": {}, "examples": {}}
    (out / "part-000000.json").write_text(json.dumps({**sound, "fingerprint": "0"}))
    (out / "part-00000.json").write_text(json.dumps(sound))
    (out / "stats.json").write_text('{"source": "x", "parts": "1"}')
    assert "output must be new, empty" in is_refused(source_csv, out, capsys)


@pytest.mark.parametrize("content", ["{", "[]", '{"write_records": 1}', '{"a": []}'])
def test_a_manifest_of_another_program_is_one_line(
    source_csv, tmp_path, capsys, content
):
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text(content)
    assert MANIFEST in is_refused(source_csv, out, capsys)


def test_a_name_in_a_manifest_reaches_no_other_folder(source_csv, tmp_path):
    out = tmp_path / "out"
    run(source_csv, out)
    manifest = json.loads((out / MANIFEST).read_text())
    names = ["../mine.json", str(tmp_path / "mine.json")]
    manifest["write_records"]["files"] += names
    (out / MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "mine.json").write_text(MINE)
    assert run(source_csv, out) == 0
    assert (tmp_path / "mine.json").read_text() == MINE


def test_the_manifest_stands_before_the_first_shard(tmp_path):
    source = write_source(
        tmp_path / "in", [make_row("a.png", "a")], {"a.png": b"broken"}
    )
    assert run(source, tmp_path / "out") == 2
    listed = json.loads((tmp_path / "out" / MANIFEST).read_text())["write_records"]
    shards = {f"{split}-00000.tfrecord" for split in SPLITS}
    assert shards < set(listed["files"]) and listed["path"] == str(source)
    assert run(source, tmp_path / "out") == 2


def test_inspect_replaces_files_of_others_by_force_alone(source_csv, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "plots").mkdir(parents=True)
    for name in ("index.html", "summary.json", "plots/files.png"):
        (out / name).write_text('{"rows": 1}')
    argv = ["--source", str(source_csv), "--output", str(out), "--processes", "1"]
    assert inspect.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "with index.html, plots/files.png, summary.json; --force" in line
    assert (out / "plots" / "files.png").read_text() == '{"rows": 1}'
    assert inspect.main([*argv, "--force"]) == 0
    assert "inspect: --force replaces index.html, plots" in capsys.readouterr().err
    assert inspect.main(argv) == 0
