"""TF Serving's REST: predict in rows and columns, status and metadata."""

import base64
import http.server
import json
import re
import urllib.parse

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from tests.serving.servables import ServingError

# The numbers that TF Serving gives for gRPC's codes.
STATUS_OF = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 412,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(_MODEL + ":predict")
_ABOUT = re.compile(_MODEL + "(?:/(metadata))?")


def build_handler(owner) -> type:
    """Makes the class that answers for a `ModelServer`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            size = int(self.headers.get("Content-Length", 0))
            if size > owner.max_bytes:
                # As proxies do: the rest of the body stays unread.
                self.close_connection = True
                self._answer(413, {"error": "Request Entity Too Large"})
                return
            body = self.rfile.read(size)
            self._try(lambda: self._predict(body))

        def do_GET(self):
            self._try(self._describe)

        def _try(self, act):
            try:
                self._answer(200, act())
            except ServingError as error:
                self._answer(STATUS_OF.get(error.code, 500), {"error": error.text})

        def _find(self, pattern):
            found = pattern.fullmatch(self.path)
            if found is None:
                text = f"Malformed request: {self.command} {self.path}"
                raise ServingError("INVALID_ARGUMENT", text)
            model, version, *more = found.groups()
            label = more[0] and urllib.parse.unquote(more[0])
            version = version and int(version)
            return urllib.parse.unquote(model), version, label, *more[1:]

        def _predict(self, body):
            model, version, label = self._find(_PREDICT)
            _, servable = owner.models.find(model, version, label)
            try:
                content = json.loads(body)
            except ValueError as error:
                text = f"JSON Parse error: {error}"
                raise ServingError("INVALID_ARGUMENT", text) from error
            signature = content.get("signature_name", "serving_default")
            if signature not in servable.signature_defs:
                text = f'Serving signature name: "{signature}" not found in signature'
                raise ServingError("INVALID_ARGUMENT", f"{text} def")
            names = list(servable.specs_of(signature))
            inputs, in_rows = read_inputs(content, names)
            owner.begin("rest", len(next(iter(inputs.values()))))
            return write_outputs(servable.run(signature, inputs), in_rows)

        def _describe(self):
            model, version, label, metadata = self._find(_ABOUT)
            if metadata:
                return describe(owner.models, model, version, label)
            status = build_status(owner.models, model, version)
            return json_format.MessageToDict(status, preserving_proto_field_name=True)

        def _answer(self, status, content):
            body = json.dumps(content, indent=4).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            """Says nothing: tests read `log`."""

    return Handler


def read_inputs(content: dict, names: list[str]) -> tuple[dict, bool]:
    """Arrays by name out of a request, and whether it is in rows.

    Raises:
        ServingError: if it is neither in rows nor in columns.
    """
    if ("instances" in content) == ("inputs" in content):
        text = "Request must have one of 'instances' and 'inputs'."
        raise ServingError("INVALID_ARGUMENT", text)
    in_rows = "instances" in content
    values = content["instances" if in_rows else "inputs"]
    if in_rows and isinstance(values, list) and values:
        named = isinstance(values[0], dict) and "b64" not in values[0]
        if named:
            values = {n: [row.get(n) for row in values] for n in values[0]}
    if not isinstance(values, dict):
        if len(names) != 1:
            text = "Input must be an object of named inputs."
            raise ServingError("INVALID_ARGUMENT", text)
        values = {names[0]: values}
    for name in names:
        if name not in values:
            text = f"Missing named input: {name} in 'inputs' object."
            raise ServingError("INVALID_ARGUMENT", text)
    return {name: _to_array(value) for name, value in values.items()}, in_rows


def _to_array(value):
    """Strings become an array of bytes; whatever else NumPy makes of it."""
    try:
        rows = [
            base64.b64decode(row["b64"]) if isinstance(row, dict) else row
            for row in value
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ServingError("INVALID_ARGUMENT", f"not base64: {error}") from error
    is_text = all(isinstance(row, bytes | str) for row in rows)
    return np.array(rows, object) if is_text else np.array(rows)


def write_outputs(outputs: dict, in_rows: bool) -> dict:
    """JSON content of arrays; one output alone goes without its name."""
    columns = {
        name: _to_json(value, name.endswith("_bytes"))
        for name, value in outputs.items()
    }
    only = next(iter(columns.values())) if len(columns) == 1 else None
    if not in_rows:
        return {"outputs": only or columns}
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]
    return {"predictions": only or rows}


def _to_json(value, is_binary: bool):
    if isinstance(value, np.ndarray):
        return [_to_json(row, is_binary) for row in value]
    if isinstance(value, bytes):
        return (
            {"b64": base64.b64encode(value).decode()} if is_binary else value.decode()
        )
    # Nine digits, as the server writes a float32; NaN stays NaN.
    return float(f"{value:.9g}") if isinstance(value, np.floating) else value.item()


def build_status(models, model: str, version=None):
    """`GetModelStatusResponse` of a model's versions, which are all available."""
    response = get_model_status_pb2.GetModelStatusResponse()
    versions = models.list_versions(model)
    if version is not None and version not in versions:
        text = f"Could not find version {version} of model {model}"
        raise ServingError("NOT_FOUND", text)
    for number in [version] if version is not None else versions:
        status = response.model_version_status.add()
        status.version = number
        status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        status.status.SetInParent()
    return response


def build_metadata(models, model: str, version=None, label=None):
    """Number of a version, and its `SignatureDefMap`."""
    number, servable = models.find(model, version, label)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in servable.signature_defs.items():
        signatures.signature_def[name].CopyFrom(definition)
    return number, signatures


def describe(models, model: str, version=None, label=None) -> dict:
    """JSON content of a version's metadata."""
    number, signatures = build_metadata(models, model, version, label)
    content = json_format.MessageToDict(signatures, preserving_proto_field_name=True)
    spec = {"name": model, "signature_name": "", "version": str(number)}
    return {"model_spec": spec, "metadata": {"signature_def": content}}
