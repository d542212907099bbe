"""Predict requests to TF Serving over gRPC."""

import os
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.serving.client import options as server_options
from tf_prompt.serving.client.calls import CallFailed, explain_handshake
from tf_prompt.serving.client.options import ServerConfig
from tf_prompt.serving.saved_model import SIGNATURE

# A request of 16 photographs exceeds gRPC's default limit of 4 MB; the server decides
# how much it accepts. A server that comes back is noticed within 5 s.
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),
]
_PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
_WRONG = ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNIMPLEMENTED")


class GrpcCall:
    """One Predict call; may be called from several threads at once.

    Args:
        options: the server and the model.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of `prompt`, bytes `(batch,)`, and `score`, float32 `(batch,)`, numpy.

    Raises:
        ImportError: if tensorflow-serving-api is not installed.
        CallFailed: when called, if the server does not answer.
    """

    def __init__(self, options: ServerConfig):
        # Otherwise gRPC's core logs failed handshakes as well.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        try:
            import grpc
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise ImportError(
                'gRPC needs an extra: pip install "tf_prompt[tf-serving]"; REST needs '
                "none: --server http://HOST:PORT"
            ) from error
        self._grpc_error = grpc.RpcError
        self._request_class = predict_pb2.PredictRequest
        self._options = options
        target = server_options.parse_address(options.server).target
        if options.is_encrypted:
            channel = grpc.secure_channel(
                target, _read_credentials(grpc, options), _CHANNEL_OPTIONS
            )
        else:
            channel = grpc.insecure_channel(target, _CHANNEL_OPTIONS)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._predict = stub.Predict

    def __call__(self, image_bytes: Sequence[bytes]) -> dict:
        request = self._build_request(image_bytes)
        try:
            response = self._predict(request, timeout=self._options.timeout)
        except self._grpc_error as error:
            raise _explain(error.code().name, error.details() or "") from error
        return {name: tf.make_ndarray(t) for name, t in response.outputs.items()}

    def _build_request(self, image_bytes):
        request = self._request_class()
        spec = request.model_spec
        spec.name = self._options.model_name
        spec.signature_name = SIGNATURE
        if self._options.model_version is not None:
            spec.version.value = self._options.model_version
        if self._options.model_label is not None:
            spec.version_label = self._options.model_label
        # Not `tf.make_tensor_proto`, whose array pads all rows to the longest one.
        images = request.inputs["image_bytes"]
        images.dtype = tf.string.as_datatype_enum
        images.tensor_shape.dim.add().size = len(image_bytes)
        images.string_val.extend(image_bytes)
        request.output_filter.extend(["prompt", "score"])
        return request


def _read_credentials(grpc, options: ServerConfig):
    # For a clear error: gRPC only reports that it cannot connect.
    server_options.build_ssl_context(options)
    paths = (options.ca_cert, options.client_key, options.client_cert)
    return grpc.ssl_channel_credentials(
        *(path and pathlib.Path(path).read_bytes() for path in paths)
    )


def _explain(code: str, text: str) -> CallFailed:
    is_too_large = code == "RESOURCE_EXHAUSTED" and "larger than max" in text
    if "SSL_ERROR" in text:
        return explain_handshake(text)
    if "http1.x" in text or "HTTP/2" in text:
        text += "; a REST port is given as http://HOST:PORT"
    return CallFailed(
        code,
        text,
        may_pass=code in _PASSING and not is_too_large,
        is_too_large=is_too_large,
        is_wrong=code in _WRONG,
    )
