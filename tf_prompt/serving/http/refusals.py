"""Error responses of the service, in the format of each interface."""

import json

# A value shown in a message is cut here: an image may be megabytes of letters.
_SHOWN = 60


class Refused(Exception):
    """A request that gets an error as its response.

    Args:
        status: of HTTP.
        message: one line for the caller.
        param: the field that is to blame, for OpenAI's clients.
        code: a word for programs, for OpenAI's clients.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message = status, message
        self.param, self.code, self.headers = param, code, headers or {}


def content_of(refused: Refused, path: str) -> dict:
    """Returns the JSON content of an error response.

    Args:
        refused: what is wrong.
        path: of the request; below `/v1/` errors have OpenAI's form.
    """
    if not path.startswith("/v1/"):
        return {"detail": refused.message}
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    error = {"message": refused.message, "type": kind}
    return {"error": {**error, "param": refused.param, "code": refused.code}}


async def answer(refused: Refused, scope, send) -> None:
    """Sends an answer from a middleware, and closes the connection behind it."""
    body = json.dumps(content_of(refused, scope["path"])).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **refused.headers,
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    start = {"type": "http.response.start", "status": refused.status}
    await send({**start, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def show(value) -> str:
    """Shortens a received value for an error message."""
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
