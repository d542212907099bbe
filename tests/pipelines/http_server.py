"""A local server of byte ranges that fails as it is told."""

import collections
import contextlib
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator

CHUNK = 1 << 12


class FaultyServer(http.server.ThreadingHTTPServer):
    """Serves files out of memory, on a free port.

    Attributes:
        files: path to content.
        faults: path to what goes wrong with its next requests, one each: a status
            such as `429`, or `drop` (closes halfway), `truncate` (claims half is
            all), `damage` (flips a byte), `chunked` (gives no length),
            `ignore_range`, `ignore_if_range`.
        headers: sent beside every fault that is a status.
        log: `(path, range, status)` of every request, in order.
        bytes_per_second: of each connection; 0 sets no limit.
        has_etag: whether files carry one.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.faults = collections.defaultdict(collections.deque)
        self.headers: dict[str, str] = {}
        self.log: list[tuple[str, str | None, int]] = []
        self.bytes_per_second = 0
        self.has_etag = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data"

    def ranges(self, path: str) -> list[tuple[str | None, int]]:
        """The ranges that were asked for, and the answers."""
        return [(asked, status) for name, asked, status in self.log if name == path]

    def handle_error(self, request, client_address) -> None:
        """Says nothing of clients that were killed."""


@contextlib.contextmanager
def serve(files: dict[str, bytes]) -> Iterator[FaultyServer]:
    """Runs a server in a thread, as long as the block lasts."""
    with FaultyServer(files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.removeprefix("/data/")
        asked = self.headers["Range"]
        faults = self.server.faults[path]
        fault = faults.popleft() if faults else None
        body = self.server.files.get(path)
        if body is None or isinstance(fault, int):
            headers = {} if body is None else self.server.headers
            self._answer(path, asked, fault or 404, headers, b"no")
            return
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        headers = {"ETag": etag} if self.server.has_etag else {}
        wanted = self.headers["If-Range"]
        if (
            asked
            and (fault == "ignore_if_range" or wanted == etag)
            and (fault != "ignore_range")
        ):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                headers["Content-Range"] = f"bytes */{len(body)}"
                self._answer(path, asked, 416, headers, b"")
                return
            last = len(body) - 1
            headers["Content-Range"] = f"bytes {start}-{last}/{len(body)}"
            self._answer(path, asked, 206, headers, body[start:], fault)
            return
        self._answer(path, asked, 200, headers, body, fault)

    def _answer(self, path, asked, status, headers, body, fault=None):
        self.server.log.append((path, asked, status))
        half = body[: len(body) // 2]
        if fault == "truncate":
            body = half
        if fault == "damage":
            body = half + bytes([body[len(half)] ^ 1]) + body[len(half) + 1 :]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(half if fault == "drop" else body)
        if fault == "drop":
            self.close_connection = True

    def _send(self, body):
        rate = self.server.bytes_per_second
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(body), CHUNK):
                self.wfile.write(body[start : start + CHUNK])
                if rate:
                    time.sleep(CHUNK / rate)

    def log_message(self, *arguments):
        """Says nothing: tests read `log`."""
