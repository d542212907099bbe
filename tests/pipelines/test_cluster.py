import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipelines import write_records
from tests.pipelines.test_convert import contents

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings(
    # protobuf, about a field that TFDS looks up while it writes dataset_info.json.
    "ignore:label\\(\\) is deprecated",
)


def run(source, output, *flags):
    argv = ["--source", str(source), "--output", str(output), "--image-size", "16"]
    return write_records.main([*argv, "--processes", "1", *flags])


@pytest.mark.parametrize("flags", [(), ("--group-near-duplicates",)])
def test_cluster_gives_the_bytes_of_one_process(
    source_2m, tmp_path, capsys, cluster_address, flags
):
    assert run(source_2m, tmp_path / "one", *flags) == 0
    printed = capsys.readouterr().out
    assert run(source_2m, tmp_path / "two", "--scheduler", cluster_address, *flags) == 0
    assert capsys.readouterr().out == printed
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_restart_redoes_only_what_is_missing(source_2m, tmp_path, cluster_address):
    out = tmp_path / "out"
    assert run(source_2m, out) == 0
    before = contents(out)
    (out / "part-00001.json").unlink()
    for path in out.iterdir():
        os.utime(path, (1, 1))
    assert run(source_2m, out, "--scheduler", cluster_address) == 0
    assert contents(out) == before
    old = {path.name for path in out.iterdir() if path.stat().st_mtime == 1}
    assert old == {name for name in before if "-00000." in name or "-00002." in name}


def test_a_wrong_address_is_one_line(source_2m, tmp_path, capsys):
    assert run(source_2m, tmp_path / "out", "--scheduler", "turtle://here") == 2
    assert "turtle" in capsys.readouterr().err.splitlines()[-1]


def test_without_dask_the_extra_is_named(source_2m, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run(source_2m, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1") == 2
    assert 'install "tf_prompt[cluster]"' in capsys.readouterr().err


def start(*words):
    command = [sys.executable, "-m", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(source_2m, tmp_path):
    """Processes over TCP; the first worker to begin a part is killed."""
    assert run(source_2m, tmp_path / "one") == 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address, flags = f"tcp://127.0.0.1:{port}", ["--no-dashboard"]
    place = ["--host", "127.0.0.1", "--port", str(port)]
    started = [start("distributed.cli.dask_scheduler", *place, *flags)]
    try:
        worker = [
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-nanny",
        ]
        started += [start(*worker, *flags) for _ in range(3)]
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
            argv = ["--source", source_2m, "--output", tmp_path / "two"]
            argv += ["--image-size", "16", "--scheduler", address]
            job = start("pipelines.write_records", *map(str, argv))
            started.append(job)
            end = time.monotonic() + 60
            while not any(busy := client.processing().values()):
                assert time.monotonic() < end and job.poll() is None
                time.sleep(0.01)
            assert busy
            started[1].send_signal(signal.SIGKILL)
            assert job.wait(120) == 0, job.stderr.read()
    finally:
        for process in reversed(started):
            process.kill()
            process.communicate()
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
