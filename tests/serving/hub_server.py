"""What the hubs of tests share: a server in a thread, and its answers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class HubServer:
    """A hub that answers while it is entered.

    Args:
        handler: class of its requests.

    Attributes:
        address: of the hub.
        private: by name of a model, whether it was made private.
        downloads: paths that were read.
    """

    def __init__(self, handler: type["HubHandler"]):
        self.private: dict[str, bool] = {}
        self.downloads: list[str] = []
        bound = type("BoundHandler", (handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class HubHandler(BaseHTTPRequestHandler):
    """Answers of a hub."""

    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *_):
        pass

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def is_from(self, token: str) -> bool:
        return self.headers.get("Authorization") == f"Bearer {token}"

    def say(self, status: int, content) -> None:
        """Answers with JSON."""
        self.send(status, json.dumps(content).encode())

    def send(self, status: int, body: bytes, headers=None) -> None:
        self.send_response(status)
        all_headers = {**(headers or {}), "Content-Length": str(len(body))}
        for key, value in all_headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
