"""Predict requests to TF Serving over REST."""

import base64
import json
import urllib.parse
from collections.abc import Sequence

import numpy as np
import urllib3

from tf_prompt.serving.client import options as server_options
from tf_prompt.serving.client.calls import CallFailed, explain_handshake
from tf_prompt.serving.client.options import ServerConfig
from tf_prompt.serving.saved_model import SIGNATURE

_PASSING = (429, 502, 503, 504)
_TOO_LARGE = 413
_WRONG = (400, 404, 405, 412)
# Connections kept for later calls; more threads than that open more connections.
_KEPT_CONNECTIONS = 16


class RestCall:
    """One predict request; may be called from several threads at once.

    Args:
        options: the server and the model.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of `prompt`, bytes `(batch,)`, and `score`, float32 `(batch,)`, numpy.

    Raises:
        FileNotFoundError, ValueError: for the certificate files.
        CallFailed: when called, if the server does not answer.
    """

    def __init__(self, options: ServerConfig):
        address = server_options.parse_address(options.server)
        context = None
        if address.scheme == "https":
            context = server_options.build_ssl_context(options)
        self._timeout = options.timeout
        # Not `requests`: that one has no limit for a call as a whole, and sends a
        # local server's traffic through the proxy of the environment.
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=_KEPT_CONNECTIONS, ssl_context=context
        )
        names = ["models", options.model_name]
        if options.model_version is not None:
            names += ["versions", str(options.model_version)]
        if options.model_label is not None:
            names += ["labels", options.model_label]
        path = "/".join(urllib.parse.quote(name, safe="") for name in names)
        start = f"{address.scheme}://{address.target}{address.prefix}"
        self._url = f"{start}/v1/{path}:predict"

    def __call__(self, image_bytes: Sequence[bytes]) -> dict:
        rows = [{"b64": base64.b64encode(data).decode()} for data in image_bytes]
        # In columns, and so the answer too: each name is sent only once.
        content = {"signature_name": SIGNATURE, "inputs": {"image_bytes": rows}}
        try:
            response = self._pool.request(
                "POST",
                self._url,
                body=json.dumps(content).encode(),
                headers={"Content-Type": "application/json"},
                timeout=urllib3.Timeout(total=self._timeout),
                # `call_again` retries; a redirect is an answer like any other.
                retries=False,
            )
        except urllib3.exceptions.SSLError as error:
            raise explain_handshake(str(error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise CallFailed(*_name_fault(error), may_pass=True) from error
        if response.status != 200:
            pause = _read_pause(response, self._timeout)
            raise _explain(response.status, pause, response.data)
        return _read_outputs(response.data)


def _read_pause(response: urllib3.BaseHTTPResponse, longest: float) -> float:
    """Seconds that the server asks to wait before a retry."""
    try:
        pause = urllib3.Retry().get_retry_after(response) or 0.0
    except urllib3.exceptions.InvalidHeader:
        return 0.0
    return min(pause, longest)


def _name_fault(error: Exception) -> tuple[str, str]:
    """A gRPC status code and a message."""
    faults = urllib3.exceptions
    # A refused connection is a kind of timeout to urllib3.
    is_refused = isinstance(error, faults.NewConnectionError)
    if isinstance(error, faults.TimeoutError) and not is_refused:
        return "DEADLINE_EXCEEDED", "no answer in time"
    if isinstance(error, faults.ProtocolError):
        # Its own text would be what the server sent, bytes of another protocol.
        text = "no answer in HTTP; a gRPC port is given as HOST:PORT"
        return "UNAVAILABLE", text
    # urllib3 wraps the error of the socket, which says it in two words.
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return "UNAVAILABLE", getattr(cause, "strerror", None) or str(error)


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
