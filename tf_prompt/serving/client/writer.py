"""A model on a server as a function of encoded images."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.serving.client import calls
from tf_prompt.serving.client import options as server_options
from tf_prompt.serving.client.calls import CallFailed
from tf_prompt.serving.client.options import ServerConfig

# The largest protobuf message, minus room for what surrounds the images.
_LARGEST_REQUEST = 2**31 - 2**20


class RefusedRequest(tf.errors.InvalidArgumentError, ValueError):
    """The server rejects a request.

    As an `InvalidArgumentError` it makes `image_files` check whether all files are
    images; as a `ValueError` it is reported in one line.
    """


class ServerWriter:
    """A model on TF Serving, as a function of encoded images.

    Requests that are too large for the server are halved, and later requests are kept
    below that size.

    Args:
        call: function that sends one request, such as `GrpcCall` or `RestCall`.
        config: the server, for messages, and the number of retries.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of `prompt`, bytes `(batch,)`; `score`, float32 `(batch,)`, NaN for broken
        images; and `error`, list of str or None: why a row has no prompt.

    Raises:
        ConnectionError: if no call succeeds.
        RefusedRequest: if the server has no such model, or rejects the images.
    """

    is_thread_safe = True

    def __init__(self, call: Callable, config: ServerConfig):
        self._call = call
        self._config = config
        self._too_large = _LARGEST_REQUEST

    def __call__(self, image_bytes: Sequence[bytes]) -> dict:
        size = sum(map(len, image_bytes))
        if size >= self._too_large and len(image_bytes) > 1:
            return self._write_halves(image_bytes)
        try:
            written = calls.call_again(
                lambda: self._call(image_bytes), self._config.retries
            )
        except CallFailed as failure:
            if not failure.is_too_large:
                raise self._explain(failure) from failure
            if len(image_bytes) > 1:
                self._too_large = min(self._too_large, size)
                return self._write_halves(image_bytes)
            error = f"too large for {self._config.server}: {failure}"
            return {
                "prompt": np.array([b""], object),
                "score": np.array([np.nan], np.float32),
                "error": [error],
            }
        return self._check(written, len(image_bytes))

    def _write_halves(self, image_bytes) -> dict:
        middle = len(image_bytes) // 2
        first, second = self(image_bytes[:middle]), self(image_bytes[middle:])
        return {
            "prompt": np.concatenate([first["prompt"], second["prompt"]]),
            "score": np.concatenate([first["score"], second["score"]]),
            "error": [*first["error"], *second["error"]],
        }

    def _check(self, written, count: int) -> dict:
        shapes = {name: np.shape(value) for name, value in written.items()}
        if shapes != {"prompt": (count,), "score": (count,)}:
            failure = CallFailed("wrong answer", str(shapes), is_wrong=True)
            raise self._explain(failure)
        return {**written, "error": [None] * count}

    def _explain(self, failure: CallFailed) -> Exception:
        config = self._config
        if failure.is_wrong:
            asked = f"model={config.model_name}"
            for name in ("model_version", "model_label"):
                if getattr(config, name) is not None:
                    asked += f", {name}={getattr(config, name)}"
            message = (
                f"server {config.server} must have the model and accept images. "
                f"Received: {asked}: {failure}"
            )
            return RefusedRequest(None, None, message)
        times = f" in {config.retries + 1} calls" if failure.may_pass else ""
        return ConnectionError(
            f"server {config.server} must answer. Received{times}: {failure}"
        )


def connect(config: ServerConfig, decoding: DecodingConfig) -> ServerWriter:
    """Prepares a client for a model on a server; sends nothing yet.

    Args:
        config: the server and the model.
        decoding: must be the default, since the export fixed how to decode.

    Returns:
        `ServerWriter`.

    Raises:
        FileNotFoundError: if a certificate file does not exist.
        ValueError: for other ways of decoding, or if gRPC is not installed.
    """
    if decoding != DecodingConfig():
        raise ValueError(
            "a server decodes as its model was exported; other ways of decoding need "
            f"--run-dir. Received: server={config.server} and {decoding}"
        )
    if server_options.parse_address(config.server).scheme == "grpc":
        from tf_prompt.serving.client.grpc_calls import GrpcCall

        try:
            return ServerWriter(GrpcCall(config), config)
        except ImportError as error:
            raise ValueError(str(error)) from error
    from tf_prompt.serving.client.rest_calls import RestCall

    return ServerWriter(RestCall(config), config)
