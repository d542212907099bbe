"""A Dask cluster of one to three workers here, beside `write_records` in one process.

The target is 0.9 of the rate that as many cores would give. The scheduler and the
workers are processes that talk over TCP and are already started; the ratio is that of
whole commands.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from benchmarks import measure

PACKAGES = ("tensorflow", "dask", "distributed")
TARGET = 0.9


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("distributed", __doc__, argv)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        toy = ["--output", scratch / "toy", "--parts", 6 if quick else 20]
        toy += ["--images-per-part", 20 if quick else 100, "--image-size", 256]
        call("tf_prompt.data.toy.diffusiondb", *toy)
        results = [compare(scratch, n, 1 if quick else 3) for n in (1, 2, 3)]
    return measure.report(*results)


def compare(scratch: pathlib.Path, workers: int, repeats: int) -> dict:
    """Times the cluster against one process, in turn."""
    one, many = scratch / "one", scratch / "many"
    with start_cluster(workers, scratch) as address:
        return measure.compare(
            f"distributed_{workers}",
            lambda: write(scratch / "toy", many, "--scheduler", address),
            lambda: write(scratch / "toy", one, "--processes", 1),
            repeats,
            1,
            TARGET if workers == 1 else TARGET * min(workers, os.cpu_count()),
            True,
            PACKAGES,
            cores=os.cpu_count(),
        ) | {"parity": digest(one) == digest(many)}


@contextlib.contextmanager
def start_cluster(workers: int, scratch: pathlib.Path):
    """A scheduler and workers of one thread each, as processes; gives the address."""
    import distributed

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address, started = f"tcp://127.0.0.1:{port}", []
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["worker", address, "--nthreads", "1", "--memory-limit", "2GiB"]
    worker += ["--local-directory", str(scratch)]
    try:
        for verb, *words in [scheduler, *[worker] * workers]:
            command = [sys.executable, "-m", f"distributed.cli.dask_{verb}"]
            started.append(
                subprocess.Popen(
                    [*command, *words, "--no-dashboard"], stderr=subprocess.DEVNULL
                )
            )
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def write(source, output, *flags) -> None:
    """One whole command of ingestion."""
    shutil.rmtree(output, ignore_errors=True)
    call("pipelines.write_records", "--source", source, "--output", output, *flags)


def call(module: str, *words) -> None:
    """Runs a command, and fails with it."""
    command = [sys.executable, "-m", module, *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)


def digest(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256 of every file, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
    }


if __name__ == "__main__":
    sys.exit(main())
