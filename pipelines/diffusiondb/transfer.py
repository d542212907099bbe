"""Downloads one file, whole or not at all, over connections that drop."""

import dataclasses
import os
import pathlib
import random
import re
import threading
from collections.abc import Callable

import requests
import urllib3

from pipelines.diffusiondb.part_file import PartFile
from pipelines.diffusiondb.verify import CorruptFile, verify_file

FIRST_WAIT, LONGEST_WAIT, LONGEST_RETRY_AFTER = 1.0, 60.0, 3600.0  # seconds
_CHUNK = 1 << 18  # bytes
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


class TransferError(Exception):
    """A file that could not be had; its text is the cause."""


class GaveUp(TransferError):
    """A file that failed too often; the server may be to blame."""


class _Setback(Exception):
    """A failure that may pass; `wait` is how long the server wants to be left."""

    def __init__(self, cause: str, wait: float = 0.0):
        super().__init__(cause)
        self.wait = wait


@dataclasses.dataclass(frozen=True)
class Effort:
    """How hard to try.

    Args:
        retries: failures in a row, none of which brought new bytes, that are
            followed by another attempt.
        timeout: seconds that a server may keep silent.
    """

    retries: int
    timeout: float


def fetch_file(
    url: str,
    path: pathlib.Path,
    effort: Effort,
    report: Callable[[int, float], object] = lambda num_bytes, share: None,
    stop: threading.Event | None = None,
) -> str:
    """Fetches a file, resumes what an earlier process left, and verifies it.

    Args:
        url: where it comes from.
        path: where it goes; its suffix says how it is verified.
        effort: how hard to try.
        report: called with the bytes received since the last call, and the share
            of the file that is there, 0-1.
        stop: when set, the transfer ends soon; what has come is kept.

    Returns:
        The file's SHA-256, in hexadecimal.

    Raises:
        TransferError: if the file is not there, or fails too often.
        OSError: if it cannot be written.
    """
    stop = stop or threading.Event()
    part = PartFile(path)
    failures, furthest = 0, part.size
    with requests.Session() as session:
        while True:
            try:
                _receive(session, url, part, effort.timeout, report, stop)
                digest = verify_file(part.path, path.suffix)
                part.finish()
                return digest
            except CorruptFile as error:
                part.discard()
                setback = _Setback(str(error))
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                setback = _Setback(_innermost(error))
            except _Setback as error:
                setback = error
            if part.size > furthest:
                failures, furthest = 0, part.size
            failures += 1
            if failures > effort.retries:
                raise GaveUp(f"{setback}; attempts: {failures}")
            if stop.wait(max(setback.wait, _back_off(failures))):
                raise TransferError("interrupted")


def _back_off(failures: int) -> float:
    # The jitter keeps workers that failed together from coming back together.
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1))
    return wait * random.uniform(0.5, 1.0)


def _innermost(error: BaseException) -> str:
    # requests wraps urllib3, which wraps the line that a person can read.
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__


def _receive(session, url, part: PartFile, timeout, report, stop) -> None:
    with _request(session, url, part, timeout) as response:
        total = _total_size(response)
        if response.status_code != 416:
            _save(response, part, total, report, stop)
    if total is not None and part.size < total:
        raise _Setback(f"{part.size} of {total} bytes came")
    if total is not None and part.size > total:
        raise CorruptFile(f"{part.size} bytes came, {total} were announced")


def _request(session, url, part: PartFile, timeout) -> requests.Response:
    """Asks for the bytes that are missing, or for all if the file has changed."""
    # Compressed on the way, a file's size would not be that of its Content-Length.
    headers = {"Accept-Encoding": "identity"}
    validator = part.validator
    if validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": validator}
    response = session.get(url, headers=headers, stream=True, timeout=timeout)
    if response.status_code == 200:
        part.start(_validator_of(response))
    elif response.status_code in (206, 416) and validator:
        if not _continues(response, part):
            response.close()
            part.discard()
            return _request(session, url, part, timeout)
    else:
        response.close()
        cause = f"HTTP {response.status_code} {response.reason}"
        if response.status_code in (408, 429) or response.status_code >= 500:
            raise _Setback(cause, _retry_after(response))
        raise TransferError(cause)
    return response


def _continues(response: requests.Response, part: PartFile) -> bool:
    """Whether what comes, perhaps nothing, joins the bytes that are there."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or _validator_of(response) not in ("", part.validator):
        return False
    # 416 is the answer where no byte is missing: it gives the whole size alone.
    start = match[2] if response.status_code == 416 else match[1]
    return start is not None and int(start) == part.size


def _validator_of(response: requests.Response) -> str:
    etag = response.headers.get("ETag", "")
    # A weak one promises the same meaning, not the same bytes.
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified", "")


def _total_size(response: requests.Response) -> int | None:
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    return int(_CONTENT_RANGE.fullmatch(response.headers["Content-Range"])[2])


def _retry_after(response: requests.Response) -> float:
    try:
        wait = urllib3.Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, urllib3.exceptions.InvalidHeader):
        return 0.0
    return min(wait, LONGEST_RETRY_AFTER)


def _save(response, part: PartFile, total: int | None, report, stop) -> None:
    size = part.size
    try:
        with part.path.open("ab") as file:
            # Unlike iter_content, read1 gives what came before a connection dropped.
            while chunk := response.raw.read1(_CHUNK, decode_content=False):
                file.write(chunk)
                size += len(chunk)
                report(len(chunk), size / total if total else 0.0)
                if stop.is_set():
                    raise TransferError("interrupted")
            file.flush()
            # A name must not outlive a power cut without its bytes.
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(f"cannot write {part.path}: {error.strerror}") from error
