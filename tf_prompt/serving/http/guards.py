"""Limits who may call, how many at once, and how long a body may take to arrive."""

import asyncio
import base64
import binascii
import ipaddress
import secrets
import urllib.parse
from collections.abc import Callable

from tf_prompt.serving.http.refusals import Refused, answer

# Seconds for a whole body: one who sends a byte a second holds no place for ever.
BODY_SECONDS = 30


class Callers:
    """ASGI middleware: admits callers with the token, or on this machine.

    With a token it must come with each request but those for `/health`, as
    `Authorization: Bearer TOKEN` or as the password of HTTP's basic scheme. Without
    one, `Host` and `Origin` must name this machine: a page of the web that a browser
    here shows could else ask in its user's name.

    Args:
        app: the application behind.
        token: the token; None only on loopback.
    """

    def __init__(self, app, token: str | None):
        self._app, self._token = app, token

    async def __call__(self, scope, receive, send) -> None:
        """Passes a request on, or answers it."""
        refused = self._check(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
            return
        await read_body(receive)
        await answer(refused, scope, send)

    def _check(self, scope) -> Refused | None:
        headers = dict(scope["headers"])
        if self._token is None:
            named = {"Host": b"//" + headers.get(b"host", b"")}
            if b"origin" in headers:
                named["Origin"] = headers[b"origin"]
            for name, address in named.items():
                address = address.decode("latin-1")
                if not _is_here(address):
                    return Refused(
                        403,
                        f"{name} must name this machine where no token is set. "
                        f"Received: {address.removeprefix('//')}",
                    )
            return None
        given = _token_of(headers.get(b"authorization", b""))
        # As bytes: `compare_digest` takes no other letters than ASCII's in text.
        is_same = secrets.compare_digest(given, self._token.encode())
        if scope["path"] == "/health" or is_same:
            return None
        return Refused(
            401,
            "the header Authorization must hold the server's token: Bearer TOKEN.",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )


class Places:
    """ASGI middleware: 503 if too many requests are in progress, 408 for a slow one.

    Bodies are read whole before a request is passed on.

    Args:
        app: the application behind.
        count: int > 0. Requests with bodies in hand at once.
        wait: function that estimates the seconds until there is a place again.
        in_hand: called with 1 and -1 as requests come and go.
    """

    def __init__(
        self,
        app,
        count: int,
        wait: Callable[[], int],
        in_hand: Callable[[int], object],
    ):
        self._app, self._free = app, count
        self._count, self._wait, self._tell = count, wait, in_hand

    async def __call__(self, scope, receive, send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif not self._free:
            await self._refuse(scope, receive, send)
        else:
            self._move(-1)
            try:
                await self._pass(scope, receive, send)
            finally:
                self._move(1)

    def _move(self, number):
        self._free += number
        self._tell(-number)

    async def _pass(self, scope, receive, send):
        body = await read_body(receive, keep=True)
        if body is None:
            message = f"a body must arrive within {BODY_SECONDS} seconds."
            await answer(Refused(408, message), scope, send)
            return
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again():
            return waiting.pop() if waiting else await receive()

        await self._app(scope, receive_again, send)

    async def _refuse(self, scope, receive, send):
        # Read, or a client that is still sending would see a broken connection.
        await read_body(receive)
        refused = Refused(
            503,
            f"{self._count} requests are in hand already: try again later.",
            code="overloaded",
            headers={"retry-after": str(self._wait())},
        )
        await answer(refused, scope, send)


async def read_body(receive, keep: bool = False) -> bytes | None:
    """Reads the body of a request.

    Args:
        receive: of ASGI.
        keep: whether the body is returned.

    Returns:
        The body, empty unless kept; None if it did not arrive in time, or whole.
    """
    parts = []
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                if keep:
                    parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_here(address: str) -> bool:
    try:
        return is_loopback(urllib.parse.urlsplit(address).hostname or "")
    except ValueError:
        return False


def _token_of(header: bytes) -> bytes:
    scheme, _, value = header.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return value.strip() if scheme.lower() == b"bearer" else b""
    try:
        pair = base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""
    return pair.partition(b":")[2]
