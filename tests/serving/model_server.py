"""A model server for tests and trials: TF Serving's gRPC and REST on SavedModels.

It answers calls of PredictionService and ModelService out of TensorFlow's own loader:

    python -m tests.serving.model_server --saved-models saved_models

The real server's binary is C++ and has no package on PyPI.
"""

import collections
import concurrent.futures
import dataclasses
import http.server
import os
import pathlib
import ssl
import sys
import threading
import time

from tf_prompt.options import DONE, command, import_tensorflow, option, parse_args

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# As the commands set it: then scores are equal to the last bit.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
import_tensorflow()
import grpc  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving import rest_server  # noqa: E402
from tests.serving.servables import Models, ServingError  # noqa: E402

# That of TF Serving: nothing is too large.
_MAX_BYTES = 2**31 - 1
_THREADS = 32


class ModelServer:
    """Serves the models of a folder on localhost; a context manager.

    Args:
        folder: `<model>/<version>/saved_model.pb`.
        labels: model to label to version.
        batch_size: images at most of requests that are run as one; 0 joins none.
        max_bytes: of a request.
        certificate: PEM files of key, certificate and, if clients need one of
            theirs, of who signs it; None speaks in the clear.
        port: of gRPC; 0 takes a free one.
        rest_port: of REST.

    Attributes:
        faults: what befalls the next calls, one each: the name of a status, or a
            number of seconds to wait first.
        log: `(grpc or rest, images)` of each call.
        address: `HOST:PORT` of gRPC.
        url: of REST.

    Raises:
        FileNotFoundError: if there is no model.
    """

    def __init__(
        self,
        folder,
        labels=None,
        batch_size=0,
        max_bytes=_MAX_BYTES,
        certificate=None,
        port=0,
        rest_port=0,
    ):
        self.models = Models(folder, labels, batch_size)
        if not self.models.names():
            raise FileNotFoundError(
                f"saved_models must hold models. Received: {folder}"
            )
        self.max_bytes = max_bytes
        self.faults: collections.deque = collections.deque()
        self.log: list[tuple[str, int]] = []
        self._grpc = grpc.server(
            concurrent.futures.ThreadPoolExecutor(_THREADS),
            options=[
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(self), self._grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            _ModelService(self), self._grpc
        )
        self.address = f"localhost:{self._open_port(certificate, port)}"
        self._http = _Http(("127.0.0.1", rest_port), rest_server.build_handler(self))
        self.url = f"http://localhost:{self._http.server_port}"
        if certificate is not None:
            self._http.socket = _build_context(*certificate).wrap_socket(
                self._http.socket, server_side=True
            )
            self.url = self.url.replace("http:", "https:")

    def _open_port(self, certificate, port):
        if certificate is None:
            return self._grpc.add_insecure_port(f"127.0.0.1:{port}")
        key, chain, authority = (
            p and pathlib.Path(p).read_bytes() for p in certificate
        )
        credentials = grpc.ssl_server_credentials(
            [(key, chain)], authority, require_client_auth=authority is not None
        )
        return self._grpc.add_secure_port(f"127.0.0.1:{port}", credentials)

    def begin(self, transport: str, num_images: int) -> None:
        """Notes a call, and lets it fail if that is its turn.

        Raises:
            ServingError: the next fault.
        """
        self.log.append((transport, num_images))
        try:
            fault = self.faults.popleft()
        except IndexError:
            return
        if isinstance(fault, str):
            raise ServingError(fault, "as the test asks")
        time.sleep(fault)

    def __enter__(self) -> "ModelServer":
        self._grpc.start()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._grpc.stop(grace=0).wait()


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address) -> None:
        """Says nothing of clients that went away, or do not trust the server."""


def _build_context(key, chain, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    if authority is not None:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _version_of(spec):
    return spec.version.value if spec.HasField("version") else None


def _abort(context, error: ServingError):
    context.abort(getattr(grpc.StatusCode, error.code), error.text)


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, owner):
        self._owner = owner

    def Predict(self, request, context):
        try:
            return self._predict(request)
        except ServingError as error:
            _abort(context, error)

    def _predict(self, request):
        spec = request.model_spec
        version, servable = self._owner.models.find(
            spec.name, _version_of(spec), spec.version_label
        )
        inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        self._owner.begin("grpc", max((len(v) for v in inputs.values()), default=0))
        outputs = servable.run(spec.signature_name, inputs, request.output_filter)
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = spec.signature_name or "serving_default"
        return response

    def GetModelMetadata(self, request, context):
        spec = request.model_spec
        for field in request.metadata_field:
            if field != "signature_def":
                text = f"Metadata field {field} is not supported"
                _abort(context, ServingError("INVALID_ARGUMENT", text))
        try:
            version, signatures = rest_server.build_metadata(
                self._owner.models, spec.name, _version_of(spec), spec.version_label
            )
        except ServingError as error:
            _abort(context, error)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(signatures)
        return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, owner):
        self._owner = owner

    def GetModelStatus(self, request, context):
        spec = request.model_spec
        try:
            return rest_server.build_status(
                self._owner.models, spec.name, _version_of(spec)
            )
        except ServingError as error:
            _abort(context, error)


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Serves SavedModels on localhost over gRPC and REST until it is stopped."""

    saved_models: str = option("saved_models", "folder of all exported models")
    port: int = option(8500, "of gRPC; 0 takes a free one")
    rest_port: int = option(8501, "of REST; 0 takes a free one")
    batch_size: int = option(
        0, "images at most of requests that are run as one; 0 joins none"
    )
    label: tuple[str, ...] = option(
        (), "MODEL:LABEL=VERSION, such as transformer_tiny:stable=1", action="append"
    )


def read_labels(pairs) -> dict:
    """Model to label to version, from `MODEL:LABEL=VERSION`."""
    labels: dict = {}
    for pair in pairs:
        name, _, version = pair.partition("=")
        model, _, label = name.partition(":")
        if not label or not version.isdigit():
            raise ValueError(f"label must be MODEL:LABEL=VERSION. Received: {pair}")
        labels.setdefault(model, {})[label] = int(version)
    return labels


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(ServerOptions, argv, "model_server")
    server = ModelServer(
        options.saved_models,
        read_labels(options.label),
        options.batch_size,
        port=options.port,
        rest_port=options.rest_port,
    )
    with server:
        for model in server.models.names():
            print(f"{model}: versions {server.models.list_versions(model)}")
        print(f"gRPC: {server.address}  REST: {server.url}", flush=True)
        threading.Event().wait()
    return DONE


if __name__ == "__main__":
    sys.exit(main())
