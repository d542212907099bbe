"""Predict of TF Serving over REST, by the standard library alone."""

import base64
import contextlib
import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Sequence

import numpy as np

from tf_prompt.serving.client import options as server_options
from tf_prompt.serving.client.calls import CallFailed, explain_handshake
from tf_prompt.serving.client.options import ServerConfig
from tf_prompt.serving.saved_model import SIGNATURE

_PASSING = (429, 502, 503, 504)
_TOO_LARGE = 413
_WRONG = (400, 404, 405, 412)


class RestCall:
    """One predict request; of use in several threads at once.

    Each has its own connection: one that is kept may be closed by the server just as
    it is used again, and beside the images its cost is small.

    Args:
        options: the server and the model.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of `prompt`, bytes `(batch,)`, and `score`, float32 `(batch,)`, numpy.

    Raises:
        FileNotFoundError, ValueError: for the files of certificates.
        CallFailed: when called, if there is no answer.
    """

    def __init__(self, options: ServerConfig):
        self._address = server_options.parse_address(options.server)
        self._timeout = options.timeout
        self._context = None
        if self._address.scheme == "https":
            self._context = server_options.build_ssl_context(options)
        names = ["models", options.model_name]
        if options.model_version is not None:
            names += ["versions", str(options.model_version)]
        if options.model_label is not None:
            names += ["labels", options.model_label]
        names = [urllib.parse.quote(name, safe="") for name in names]
        self._path = f"{self._address.prefix}/v1/{'/'.join(names)}:predict"

    def __call__(self, image_bytes: Sequence[bytes]) -> dict:
        rows = [{"b64": base64.b64encode(data).decode()} for data in image_bytes]
        # In columns, which the answer then has too: no name is said twice.
        content = {"signature_name": SIGNATURE, "inputs": {"image_bytes": rows}}
        try:
            status, pause, answer = self._post(json.dumps(content).encode())
        except ssl.SSLError as error:
            raise explain_handshake(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise CallFailed(*_name_fault(error), may_pass=True) from error
        if status != http.client.OK:
            raise _explain(status, pause, answer)
        return _read_outputs(answer)

    def _post(self, body: bytes) -> tuple[int, float, bytes]:
        """Status, seconds to wait before another try, and content of the answer."""
        deadline = time.monotonic() + self._timeout
        with contextlib.closing(self._connect()) as connection:
            connection.connect()
            headers = {"Content-Type": "application/json"}
            # A server that refuses the size answers, and closes, before it has read
            # all; its answer says more than the broken pipe.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _set_time_left(connection, deadline)
                connection.request("POST", self._path, body, headers)
            _set_time_left(connection, deadline)
            response = connection.getresponse()
            wait = response.headers.get("Retry-After", "")
            pause = min(float(wait), self._timeout) if wait.isdigit() else 0.0
            return response.status, pause, response.read()

    def _connect(self):
        arguments = {"timeout": self._timeout}
        if self._context is not None:
            arguments["context"] = self._context
            return http.client.HTTPSConnection(self._address.target, **arguments)
        return http.client.HTTPConnection(self._address.target, **arguments)


def _set_time_left(connection, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.sock.settimeout(left)


def _name_fault(error: Exception) -> tuple[str, str]:
    """A code as gRPC has it, and text."""
    if isinstance(error, TimeoutError):
        return "DEADLINE_EXCEEDED", "no answer in time"
    if isinstance(error, http.client.HTTPException | ConnectionResetError):
        # The text would be what the server sent, bytes of another protocol.
        text = "no answer in HTTP; a gRPC port is given as HOST:PORT"
        return "UNAVAILABLE", text
    return "UNAVAILABLE", error.strerror or str(error)


def _explain(status: int, pause: float, answer: bytes) -> CallFailed:
    try:
        text = str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        # A proxy's page, say.
        text = " ".join(answer[:200].decode(errors="replace").split())
    return CallFailed(
        f"HTTP {status}",
        text,
        may_pass=status in _PASSING,
        is_too_large=status == _TOO_LARGE,
        is_wrong=status in _WRONG,
        pause=pause,
    )


def _read_outputs(answer: bytes) -> dict:
    try:
        outputs = json.loads(answer)["outputs"]
        prompts = [prompt.encode() for prompt in outputs["prompt"]]
        scores = np.array(outputs["score"], np.float32)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        start = answer[:80].decode(errors="replace")
        raise CallFailed(
            "HTTP 200", f"no outputs prompt and score in: {start}", is_wrong=True
        ) from error
    return {"prompt": np.array(prompts, object), "score": scores}
