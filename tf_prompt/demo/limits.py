"""Refuses requests with too large bodies before reading them."""

# All that the page sends besides files: names, places and events.
MAX_OTHER_BYTES = 2**20
# Boundaries and names around each file of an upload.
_AROUND = 2**16


class BodyLimit:
    """ASGI middleware: 413 for a body above the limit, 411 for one of unknown size.

    Gradio limits the size of each uploaded file, but neither their number nor other
    bodies.

    Args:
        app: the wrapped application.
        max_upload_bytes: maximum size of a request that uploads files.
    """

    def __init__(self, app, max_upload_bytes: int):
        self._app = app
        self._max_upload_bytes = max_upload_bytes + _AROUND

    async def __call__(self, scope, receive, send) -> None:
        """Passes a request on, or answers it."""
        status = self._check(scope) if scope["type"] == "http" else None
        if status is None:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        await send({"type": "http.response.body"})

    def _check(self, scope) -> int | None:
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return 411
        is_upload = scope["path"].rstrip("/").endswith("/upload")
        limit = self._max_upload_bytes if is_upload else MAX_OTHER_BYTES
        # The server in front has checked that it is a number, and holds to it.
        return 413 if int(headers.get(b"content-length", 0)) > limit else None
