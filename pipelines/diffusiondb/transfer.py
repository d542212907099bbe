"""Downloads one file atomically, over connections that may drop."""

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
    """A file that could not be downloaded; the message is the cause."""


class GaveUp(TransferError):
    """A file that failed too often; the server may be to blame."""


class _Setback(Exception):
    """A failure that may pass; `wait` is the pause in seconds that the server wants."""

    def __init__(self, cause: str, wait: float = 0.0):
        super().__init__(cause)
        self.wait = wait


@dataclasses.dataclass(frozen=True)
class Effort:
    """Retries and timeout of a download.

    Args:
        retries: number of retries after failures in a row without new bytes.
        timeout: seconds that a server may take to send anything.
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
    """Fetches a file, or resumes an earlier process's download, and verifies it.

    Args:
        url: address of the file.
        path: path of the file; its suffix decides how it is verified.
        effort: retries and timeout.
        report: called with the number of bytes received since the last call, and the
            share of the file that is complete, 0-1.
        stop: when set, the transfer ends soon; the received bytes are kept.

    Returns:
        The file's SHA-256, in hexadecimal.

    Raises:
        TransferError: if the file does not exist, or fails too often.
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
    # requests wraps an error of urllib3, which wraps the readable one.
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
    """Requests the missing bytes, or all bytes if the file has changed."""
    # With compression, Content-Length would not be the size of the file.
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
    """Whether the response, possibly empty, continues the bytes already received."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or _validator_of(response) not in ("", part.validator):
        return False
    # 416 means that no byte is missing; it contains only the total size.
    start = match[2] if response.status_code == 416 else match[1]
    return start is not None and int(start) == part.size


def _validator_of(response: requests.Response) -> str:
    etag = response.headers.get("ETag", "")
    # A weak validator does not guarantee the same bytes.
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
            # Unlike iter_content, read1 returns the bytes before a connection dropped.
            while chunk := response.raw.read1(_CHUNK, decode_content=False):
                file.write(chunk)
                size += len(chunk)
                report(len(chunk), size / total if total else 0.0)
                if stop.is_set():
                    raise TransferError("interrupted")
            file.flush()
            # After a power cut, the final name must not exist without its bytes.
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(f"cannot write {part.path}: {error.strerror}") from error
