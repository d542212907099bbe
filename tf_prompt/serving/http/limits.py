"""Refuses requests with too large a body, before reading any of it."""

from collections.abc import Callable

from tf_prompt.serving.http import refusals

# Boundaries and names around each file of an upload, bytes.
AROUND = 2**16


class BodyLimit:
    """ASGI middleware: 413 for a body above the limit, 411 for one of unknown size.

    Args:
        app: the application behind.
        limit_of: function from the path of a request to the bytes that it may have.
    """

    def __init__(self, app, limit_of: Callable[[str], int]):
        self._app, self._limit_of = app, limit_of

    async def __call__(self, scope, receive, send) -> None:
        """Passes a request on, or answers it."""
        refused = self._check(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await refusals.answer(refused, scope, send)

    def _check(self, scope) -> refusals.Refused | None:
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return refusals.Refused(411, "a body needs a Content-Length.")
        limit = self._limit_of(scope["path"])
        # The server in front has checked that it is a number, and holds to it.
        size = int(headers.get(b"content-length", 0))
        if size <= limit:
            return None
        return refusals.Refused(
            413, f"a body must have at most {limit} bytes. Received: {size}"
        )
