import collections
import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import time
import zipfile

import pandas as pd
import pytest

from pipelines import download
from pipelines.diffusiondb import remote, transfer
from pipelines.diffusiondb.manifest import Manifest
from pipelines.sources import open_source
from tests import checks
from tests.pipelines.conftest import make_row
from tests.pipelines.http_server import serve

PARTS = {f"images/part-{number:06d}.zip" for number in (1, 2, 3)}
ONE = "images/part-000001.zip"
METADATA = "metadata.parquet"
PART_BYTES = 40_000


def make_zip(seed: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", random.Random(seed).randbytes(PART_BYTES))
    return buffer.getvalue()


def make_parquet() -> bytes:
    return pd.DataFrame([make_row("a.png", "a sea")]).to_parquet()


@pytest.fixture
def server():
    files = {name: make_zip(seed) for seed, name in enumerate(sorted(PARTS))}
    with serve({METADATA: make_parquet(), **files}) as running:
        yield running


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.01)


def run(server, output, *flags):
    """Runs the command in this process; two parts at once unless flags differ."""
    argv = ["--output", str(output), "--base-url", server.url, "--workers", "2"]
    return download.main([*argv, *(flags or ("--parts", "1-3"))])


def errors_of(capsys):
    """What the command said on stderr, without the progress bar."""
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    return [line for line in lines if line.startswith("download:")]


def tree(folder):
    """Every file of a folder, with its content."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def assert_whole(server, output, names):
    """The folder holds these files and their manifest, and nothing else."""
    files = tree(output)
    manifest = json.loads(files.pop("manifest.json"))
    assert files == {name: server.files[name] for name in names}
    assert manifest == {
        "files": {
            name: {
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "url": f"{server.url}/{name}",
            }
            for name, content in files.items()
        }
    }


def test_files_come_whole_with_a_manifest(server, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert run(server, out) == 0
    assert_whole(server, out, {METADATA, *PARTS})
    num_bytes = sum(map(len, server.files.values()))
    printed = capsys.readouterr()
    assert printed.out == (
        f"4 of 4 files, {num_bytes:,} bytes, in {out}; 4 fetched now\n"
    )
    assert "4.0/4 files" in printed.err and "B/s" in printed.err
    source = open_source(out)
    assert source.name == "diffusiondb_2m" and len(source) == 3


def test_large_lies_in_two_folders(tmp_path):
    names = [
        "diffusiondb-large-part-1/part-010000.zip",
        "diffusiondb-large-part-2/part-010001.zip",
    ]
    files = {name: make_zip(0) for name in names}
    with serve({"metadata-large.parquet": make_parquet(), **files}) as server:
        assert run(server, tmp_path, "--large", "--parts", "10000-10001") == 0
        assert_whole(server, tmp_path, ["metadata-large.parquet", *names])
    assert open_source(tmp_path).name == "diffusiondb_large"
    assert run(server, tmp_path, "--parts", "1") == 2


def test_metadata_alone(server, tmp_path):
    assert run(server, tmp_path, "--metadata-only") == 0
    assert_whole(server, tmp_path, [METADATA])


def test_a_restart_fetches_nothing_twice(server, tmp_path, capsys):
    run(server, tmp_path, "--parts", "1-2")
    before = tree(tmp_path)
    server.log.clear()
    assert run(server, tmp_path, "--parts", "1-2") == 0
    assert server.log == [] and tree(tmp_path) == before
    assert capsys.readouterr().out.endswith("; 0 fetched now\n")
    assert run(server, tmp_path, "--parts", "3") == 0
    assert [path for path, _, _ in server.log] == ["images/part-000003.zip"]
    assert_whole(server, tmp_path, {METADATA, *PARTS})


def test_the_manifest_forgets_what_was_removed(server, tmp_path):
    run(server, tmp_path)
    (tmp_path / ONE).unlink()
    assert run(server, tmp_path, "--metadata-only") == 0
    assert_whole(server, tmp_path, {METADATA, *PARTS} - {ONE})


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_damaged_file_is_fetched_again(server, tmp_path, capsys, is_listed):
    run(server, tmp_path)
    (tmp_path / ONE).write_bytes(server.files[ONE][:-9])
    if not is_listed:
        (tmp_path / "manifest.json").unlink()
        assert run(server, tmp_path) == 1 and "--force" in errors_of(capsys)[0]
    force = "--no-force" if is_listed else "--force"
    assert run(server, tmp_path, "--parts", "1-3", force) == 0
    assert len(server.ranges(ONE)) == 2
    assert len(server.log) == 5
    assert_whole(server, tmp_path, {METADATA, *PARTS})


@pytest.mark.parametrize(
    "name, faults, answers",
    [
        (ONE, ["drop"], [200, 206]),
        (ONE, ["drop", "drop", "drop"], [200, 206, 206, 206]),
        (ONE, ["drop", "ignore_range"], [200, 200]),
        (ONE, ["truncate"], [200, 200]),
        (ONE, ["damage"], [200, 200]),
        (ONE, ["drop", "damage"], [200, 206, 200]),
        (ONE, ["chunked"], [200]),
        (ONE, [500], [500, 200]),
        (ONE, [503, 429, "drop", 408], [503, 429, 200, 408, 206]),
        (METADATA, ["truncate", "drop", 500], [200, 200, 500, 206]),
    ],
    ids=str,
)
def test_a_failure_that_passes_leaves_no_trace(server, tmp_path, name, faults, answers):
    server.faults[name].extend(faults)
    assert run(server, tmp_path) == 0
    assert [status for _, status in server.ranges(name)] == answers
    assert_whole(server, tmp_path, {METADATA, *PARTS})


def test_what_came_is_not_asked_for_again(server, tmp_path):
    server.faults[ONE].extend(["drop"])
    run(server, tmp_path)
    half = len(server.files[ONE]) // 2
    assert server.ranges(ONE) == [(None, 200), (f"bytes={half}-", 206)]


def test_retries_count_only_without_new_bytes(server, tmp_path):
    server.faults[ONE].extend(["drop"] * 5)
    assert run(server, tmp_path, "--parts", "1", "--retries", "1") == 0
    assert_whole(server, tmp_path, [METADATA, ONE])


@pytest.mark.parametrize("fault", [None, "ignore_if_range"])
def test_two_versions_are_never_joined(server, tmp_path, fault):
    server.faults[ONE].append("drop")
    assert run(server, tmp_path, "--parts", "1", "--retries", "0") == 1
    assert (tmp_path / f"{ONE}.part").stat().st_size
    server.files[ONE] = make_zip(99)
    server.faults[ONE].append(fault)
    assert run(server, tmp_path, "--parts", "1", "--retries", "0") == 0
    assert server.ranges(ONE)[-1][1] == 200
    assert_whole(server, tmp_path, [METADATA, ONE])


def test_without_a_validator_nothing_is_resumed(server, tmp_path):
    server.has_etag = False
    server.faults[ONE].append("drop")
    assert run(server, tmp_path) == 0
    assert server.ranges(ONE) == [(None, 200), (None, 200)]
    assert_whole(server, tmp_path, {METADATA, *PARTS})


@pytest.mark.parametrize("extra", [b"", b"too long"], ids=["all", "more"])
def test_all_bytes_there_before_the_rename(server, tmp_path, extra):
    """A process may be killed after the last byte and before the rename."""
    server.faults[ONE].append("drop")
    run(server, tmp_path, "--parts", "1", "--retries", "0")
    (tmp_path / f"{ONE}.part").write_bytes(server.files[ONE] + extra)
    server.log.clear()
    assert run(server, tmp_path, "--parts", "1") == 0
    assert [status for _, _, status in server.log] == [416] + [200] * bool(extra)
    assert_whole(server, tmp_path, [METADATA, ONE])


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_kill_between_rename_and_cleaning_leaves_nothing(server, tmp_path, is_listed):
    run(server, tmp_path)
    (tmp_path / f"{ONE}.part.etag").write_text('"old"')
    if not is_listed:
        (tmp_path / "manifest.json").unlink()
    server.log.clear()
    assert run(server, tmp_path) == 0
    assert server.log == []
    assert_whole(server, tmp_path, {METADATA, *PARTS})


def test_an_absent_file_is_final_and_keeps_no_other(server, tmp_path, capsys):
    del server.files[ONE]
    assert run(server, tmp_path) == 1
    assert server.ranges(ONE) == [(None, 404)]
    assert_whole(server, tmp_path, {METADATA, *PARTS} - {ONE})
    (line,) = errors_of(capsys)
    assert line == f"download: error: {ONE}: HTTP 404 Not Found"


@pytest.mark.parametrize(
    "fault, cause",
    [
        (500, "HTTP 500 Internal Server Error"),
        ("damage", "wrong CRC of a.png"),
        ("truncate", "not a whole zip archive"),
    ],
)
def test_a_lasting_failure_ends(server, tmp_path, capsys, fault, cause):
    server.faults[ONE].extend([fault] * 9)
    assert run(server, tmp_path, "--parts", "1-3", "--retries", "2") == 1
    assert len(server.ranges(ONE)) == 3
    assert_whole(server, tmp_path, {METADATA, *PARTS} - {ONE})
    (line,) = errors_of(capsys)
    assert ONE in line and cause in line and "attempts: 3" in line


def test_many_failures_are_said_in_few_lines(server, tmp_path, capsys):
    server.files.clear()
    assert run(server, tmp_path, "--parts", "1-9") == 1
    lines = errors_of(capsys)
    assert len(lines) == 6 and lines[-1] == "download: error: and 5 more files"


def test_a_dead_server_is_given_up(server, tmp_path, capsys):
    names = remote.Selection(all=True).list_files()
    server.files = dict.fromkeys(names, b"")
    server.faults.update({name: collections.deque([500]) for name in names})
    assert run(server, tmp_path, "--all", "--retries", "0") == 1
    assert len(server.log) < 200
    assert errors_of(capsys)[-1] == "download: error: and 1996 more files"


def test_retry_after_is_obeyed(server, tmp_path):
    server.headers = {"Retry-After": "1"}
    server.faults[METADATA].append(429)
    start = time.monotonic()
    assert run(server, tmp_path, "--metadata-only") == 0
    assert 1 <= time.monotonic() - start < 5


def test_a_silent_server_is_left(server, tmp_path, capsys):
    server.bytes_per_second = 10
    argv = ["--metadata-only", "--timeout", "0.1", "--retries", "0"]
    assert run(server, tmp_path, *argv) == 1
    (line,) = errors_of(capsys)
    assert "timed out" in line.lower()


def test_no_server_is_one_line(tmp_path, capsys):
    with serve({}) as server:
        pass
    assert run(server, tmp_path, "--metadata-only", "--retries", "1") == 1
    (line,) = errors_of(capsys)
    assert "refused" in line


def test_a_full_disk_is_one_line_and_exit_2(server, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / f"{ONE}.part").symlink_to("/dev/full")
    assert run(server, tmp_path) == 2
    (line,) = errors_of(capsys)
    assert "No space left" in line and ONE in line
    assert not (tmp_path / "manifest.json").exists()


def test_two_downloads_never_share_a_folder(server, tmp_path, capsys):
    with Manifest(tmp_path):
        assert run(server, tmp_path) == 2
    (line,) = errors_of(capsys)
    assert "output must not be in use" in line
    assert run(server, tmp_path) == 0


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "exactly one of --parts, --all, --metadata-only must be given"),
        (["--parts", "1", "--all"], "Received: --parts, --all"),
        (["--all", "--metadata-only"], "Received: --all, --metadata-only"),
        (["--parts", ""], "parts must be numbers and ranges"),
        (["--parts", "-1"], "Received: '-1'"),
        (["--parts", "1,1999-2001"], "Received: 1999-2001"),
        (["--parts", "14001", "--large"], "parts must lie within 1-14000"),
        (["--all", "--workers", "0"], "workers must be positive"),
        (["--all", "--timeout", "0"], "timeout must be positive"),
        (["--all", "--timeout", "inf"], "timeout must be at most"),
        (["--all", "--retries", "-1"], "retries must not be negative"),
        (["--all", "--base-url", "ftp://host"], "base_url must be http://HOST"),
        (["--all", "--base-url", "http://"], "base_url must be http://HOST"),
        (["--all", "--output", "file"], "file"),
        (["--all", "--output", "file/below"], "file"),
        (["--all", "--output", "other"], "other/manifest.json"),
        (["--all", "--large", "--output", "with_2m"], "output must not hold"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('["mine"]')
    (tmp_path / "with_2m" / "images").mkdir(parents=True)
    (tmp_path / "with_2m" / ONE).touch()
    argv = ["--output", "out", "--base-url", "http://127.0.0.1:9/", *flags]
    code = checks.exit_code(download.main, argv)
    assert code == 2
    (line,) = errors_of(capsys)
    assert message in line


def start(server, output):
    argv = ["--parts", "1-3", "--output", str(output), "--base-url", server.url]
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.download", *argv, "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_undisturbed(server, tmp_path):
    assert run(server, tmp_path / "clean") == 0
    out, moments = tmp_path / "out", random.Random(0)
    server.bytes_per_second = PART_BYTES / 2
    server.log.clear()
    for _ in range(10):
        process = start(server, out)
        time.sleep(moments.uniform(0.3, 1.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        finished = {name for name in server.files if (out / name).exists()}
        for name in finished:
            assert (out / name).read_bytes() == server.files[name]
        server.log.append(("killed", sorted(finished), 0))
    server.bytes_per_second = 0
    process = start(server, out)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert tree(out) == tree(tmp_path / "clean")
    finished = set()
    for path, asked, _ in server.log:
        assert path not in finished
        finished |= set(asked) if path == "killed" else set()
    assert any(status == 206 for _, _, status in server.log)


def test_interrupted_it_stops_at_once_and_keeps_what_came(server, tmp_path):
    server.bytes_per_second = PART_BYTES / 4
    process = start(server, tmp_path)
    while not (tmp_path / f"{ONE}.part").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr.endswith("interrupted\n") and "Traceback" not in stderr
    server.bytes_per_second = 0
    assert run(server, tmp_path) == 0
    assert_whole(server, tmp_path, {METADATA, *PARTS})
