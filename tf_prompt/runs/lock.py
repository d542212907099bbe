"""Locks: only one process writes to a run folder or to a results file."""

import contextlib
import fcntl
import json
import os
import pathlib
import socket

LOCK = "fit.lock"


@contextlib.contextmanager
def hold(run_dir: str | pathlib.Path):
    """Context manager that locks a run's folder, and creates it if needed.

    The operating system releases the lock when the process ends, even if it is
    killed; a lock file left behind does no harm.

    Raises:
        ValueError: if another process trains there, or the folder is not writable.
    """
    path = pathlib.Path(run_dir) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except BlockingIOError as error:
        raise ValueError(
            f"run_dir must not be in use. Received: {run_dir}, where "
            f"{_read_owner(path)} trains; wait for it, or give another --run-dir"
        ) from error
    except OSError as error:
        raise ValueError(
            f"run_dir must be a writable folder. Received: {run_dir} ({error.strerror})"
        ) from error
    with _releasing(descriptor, path):
        yield


@contextlib.contextmanager
def hold_file(path: str | pathlib.Path):
    """Context manager that locks a file, by a lock file beside it.

    As with `hold`, a killed process leaves no lock.

    Args:
        path: the file; its folder must exist, the file need not.

    Raises:
        ValueError: if another process holds the lock, the folder does not exist or
            is not writable, or the name is that of a folder, a device or a pipe.
    """
    path = pathlib.Path(path)
    beside = path.with_name(f"{path.name}.lock")
    # Root can rename a file over a device: /dev/stdout would be one from then on.
    is_special = path.exists() and not path.is_file()
    if is_special or not path.parent.is_dir():
        raise ValueError(
            "a file of results must be a file, and must be in a folder that exists. "
            f"Received: {path}"
        )
    try:
        descriptor = _acquire(beside)
    except BlockingIOError as error:
        raise ValueError(
            f"a file of results must not be in use. Received: {path}, which "
            f"{_read_owner(beside)} writes; wait for it, or name another file"
        ) from error
    except OSError as error:
        raise ValueError(
            "a file of results must be in a writable folder. "
            f"Received: {path} ({error.strerror})"
        ) from error
    with _releasing(descriptor, beside):
        yield


@contextlib.contextmanager
def _releasing(descriptor, path):
    try:
        yield
    finally:
        # Unlinked while locked: a process that has opened it sees that it is gone.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                owner = {"pid": os.getpid(), "host": socket.gethostname()}
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps(owner).encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor, path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _read_owner(path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
