import json
import os
import random
import subprocess
import sys
import time

import pytest
import tensorflow_datasets as tfds

from pipelines import write_records
from tests import checks
from tests.pipelines.conftest import encode, make_row, write_csv, write_source
from tests.pipelines.test_convert import contents, read_all

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")


def run(source, output, *flags, processes=1):
    """Runs the command in this process, with small images."""
    argv = ["--source", str(source), "--output", str(output), "--image-size", "16"]
    return write_records.main([*argv, "--processes", str(processes), *flags])


def errors_of(capsys):
    """What the command said on stderr, without the progress bar."""
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    return [line for line in lines if line.startswith("write_records:")]


def test_output_is_counted_printed_and_readable(source_2m, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(source_2m, out) == 0
    printed = capsys.readouterr().out.split()
    assert printed[:2] == ["rows", "18"] and printed[-8:-6] == ["kept", "18"]
    stats = json.loads((out / "stats.json").read_text())
    assert stats["rows"] == sum(stats["examples"].values()) == 18
    assert stats["flags"] == {
        "square": True,
        "drop_blurred": True,
        "min_cfg": 0.0,
        "min_step": 10,
        "image_size": 16,
        "max_pixels": 2**26,
    }
    builder = tfds.builder_from_directory(out)
    assert builder.info.name == "diffusiondb_2m"
    for split, of_split in read_all(out).items():
        assert stats["examples"][split] == len(of_split)
        if of_split:
            examples = list(tfds.as_numpy(builder.as_dataset(split=split)))
            ids = {example["image_id"] for example in examples}
            assert ids == {record["image_id"] for record in of_split}
            assert examples[0]["image"].shape == (16, 16, 3)


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(source_2m, tmp_path, capsys):
    assert run(source_2m, tmp_path / "one") == 0
    printed = capsys.readouterr().out
    assert run(source_2m, tmp_path / "two", processes=2) == 0
    assert capsys.readouterr().out == printed
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_command_runs_from_a_checkout(source_2m, tmp_path):
    out = tmp_path / "out"
    argv = ["--source", str(source_2m), "--output", str(out), "--processes", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.write_records", *argv],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("rows")
    assert "3.0/3 parts" in done.stderr
    assert sum(map(len, read_all(out).values())) == 18


def test_restart_redoes_only_what_is_missing(source_2m, tmp_path):
    out = tmp_path / "out"
    run(source_2m, out)
    before = contents(out)
    (out / "part-00001.json").unlink()
    (out / "stats.json").unlink()
    (out / "train-00001.tfrecord.123.part").touch()
    for path in out.iterdir():
        os.utime(path, (1, 1))
    assert run(source_2m, out) == 0
    assert contents(out) == before
    old = {path.name for path in out.iterdir() if path.stat().st_mtime == 1}
    done = {name for name in before if "-00000." in name or "-00002." in name}
    assert old == done


def kill_often(command, killed, times):
    """Kills runs of a command once their folder is there; whether any still ran.

    A start takes seconds, so each is killed a bit later.
    """
    moments, has_killed = random.Random(0), False
    for _ in range(times):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        # From the first file on, where there is something to break.
        while not killed.is_dir() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        has_killed |= process.wait() != 0
        # Else the later runs would have nothing to do.
        for part in list(killed.glob("part-*.json"))[:1]:
            part.unlink()
    return has_killed


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_a_clean_run(source_2m, tmp_path):
    clean, killed = tmp_path / "clean", tmp_path / "killed"
    run(source_2m, clean)
    command = [sys.executable, "-m", "pipelines.write_records"]
    command += ["--source", source_2m, "--output", killed, "--image-size", "16"]
    kill_often([*command, "--processes", "1"], killed, 10)
    subprocess.run([*command, "--processes", "2"], check=True, capture_output=True)
    assert contents(killed) == contents(clean)


def test_other_flags_redo_everything(source_2m, tmp_path, capsys):
    out = tmp_path / "out"
    run(source_2m, out)
    assert run(source_2m, out, "--min-step", "51") == 2
    assert "few_steps 18" in errors_of(capsys)[0]
    assert not list(out.glob("*.tfrecord")) and not (out / "stats.json").exists()


def test_a_smaller_source_leaves_no_old_part(source_2m, tmp_path):
    run(source_2m, tmp_path / "out")
    (source_2m / "images" / "part-000003.zip").unlink()
    assert run(source_2m, tmp_path / "out") == 0
    assert not list((tmp_path / "out").glob("*-00002.*"))


def test_many_rejected_rows_exit_with_1_after_writing(tmp_path, capsys):
    names = [f"{letter}.png" for letter in "abcdefghij"]
    members = dict.fromkeys(names, encode()) | {"j.png": b"broken"}
    rows = [make_row(name, f"a {name}") for name in names]
    source = write_source(tmp_path / "in", rows, members)
    assert run(source, tmp_path / "out") == 1
    (line,) = errors_of(capsys)
    assert "rejected 10.0% of the rows" in line and "undecodable_image j.png" in line
    assert (tmp_path / "out" / "stats.json").exists()
    assert (tmp_path / "out" / "rejects.csv").read_text().splitlines() == [
        "cause,count,part,image_name",
        "undecodable_image,1,images/part-000001.zip,j.png",
    ]
    assert run(source, tmp_path / "out", "--max-reject-rate", "0.1") == 0


def test_an_unreadable_part_is_never_passed_over(source_2m, tmp_path, capsys):
    (source_2m / "images" / "part-000002.zip").write_bytes(b"PK")
    assert run(source_2m, tmp_path / "out", "--max-reject-rate", "0.9") == 1
    (line,) = errors_of(capsys)
    assert "unreadable_part images/part-000002.zip" in line
    assert tfds.builder_from_directory(tmp_path / "out").info.splits["train"]


def test_absent_metadata_is_said(source_2m, tmp_path, capsys):
    (source_2m / "metadata.parquet").unlink()
    assert run(source_2m, tmp_path / "out") == 0
    (line,) = errors_of(capsys)
    assert "--drop-blurred is off" in line


def test_each_image_is_for_testing_in_one_fold(source_2m, tmp_path):
    tested = []
    for index in range(3):
        out = tmp_path / str(index)
        assert run(source_2m, out, "--fold", f"{index}/3") == 0
        tested += [record["image_id"] for record in read_all(out)["test"]]
        assert json.loads((out / "stats.json").read_text())["flags"]["fold"]
    assert len(tested) == len(set(tested)) == 18


def test_nothing_kept_names_the_cause(tmp_path, capsys):
    write_csv(tmp_path / "my.csv", [("file", "prompt"), ("gone.png", "a sea")])
    assert run(tmp_path / "my.csv", tmp_path / "out") == 2
    (line,) = errors_of(capsys)
    assert "row_without_image 1" in line


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--source", "missing"], "missing"),
        (["--source", "empty"], "Kaggle"),
        (["--source", "empty", "--image-size", "-1"], "image_size must be positive"),
        (["--source", "empty", "--processes", "0"], "processes must be positive"),
        (["--source", "empty", "--max-reject-rate", "2"], "max_reject_rate"),
        (["--source", "empty", "--validation", "1"], "validation must be at least 0"),
        (["--source", "empty", "--test", "nan"], "test must be at least 0, below 1"),
        (
            ["--source", "empty", "--validation", "0.6", "--test", "0.4"],
            "validation and test must leave a share for train. Received: 0.6 and 0.4",
        ),
        (["--source", "empty", "--fold", "5/5"], "fold must be INDEX/COUNT"),
        (["--source", "empty", "--fold", "0/1"], "fold must be INDEX/COUNT"),
        (["--source", "empty", "--fold", "first"], "fold must be INDEX/COUNT"),
        (
            ["--source", "empty", "--fold", "0/5", "--test", "0.1"],
            "test must be left out with fold, which makes it 1/5. Received: 0.1",
        ),
        (
            ["--source", "empty", "--fold", "0/2", "--validation", "0.5"],
            "must leave a share for train. Received: 0.5 and 0.5",
        ),
        (
            ["--source", "empty", "--fold", "0/5", "--split-column", "split"],
            "split_column must be left out with fold",
        ),
        (["--source", "my.csv", "--output", "file"], "file"),
        (["--source", "my.csv", "--output", "file/below"], "file"),
        (["--source", "bad"], "metadata must be DiffusionDB's parquet"),
        (["--source", "empty", "--squares"], "unrecognized"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    write_csv(tmp_path / "my.csv", [("file", "prompt"), ("a.png", "a sea")])
    write_source(tmp_path / "bad", [make_row("a.png", "a")], {"a.png": encode()})
    (tmp_path / "bad" / "metadata.parquet").write_bytes(b"PAR1")
    argv = ["--output", "out", "--processes", "1", *flags]
    code = checks.exit_code(write_records.main, argv)
    assert code == 2
    (line,) = errors_of(capsys)
    assert message in line


@pytest.mark.parametrize(
    "folder, name, rows, kept",
    [
        ("kaggle", "kaggle", 7, 7),
        ("diffusiondb-2m-mini", "diffusiondb_2m", 160, 132),
        pytest.param(
            "diffusiondb-large-mini",
            "diffusiondb_large",
            1195,
            969,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_real_images(real_data, tmp_path, folder, name, rows, kept):
    out = tmp_path / "out"
    assert run(real_data / folder, out) == 0
    stats = json.loads((out / "stats.json").read_text())
    assert stats["source"] == name and stats["rows"] == rows
    assert sum(stats["examples"].values()) == kept
    assert not any(stats["rejected"].values())
    splits = read_all(out)
    prompts = [{tuple(r["words"]) for r in of_split} for of_split in splits.values()]
    assert len(set().union(*prompts)) == sum(map(len, prompts))
