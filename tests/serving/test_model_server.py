"""The test server says what TF Serving says, as its clients read it."""

import base64
import json
import urllib.error
import urllib.request

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving import model_server
from tests.serving.model_server import ModelServer
from tests.serving.servables import WARMUP, Servable, ServingError
from tests.serving.stub import export_stub


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def ask(server, path, content=None):
    """Status and JSON of an answer of REST."""
    body = None if content is None else json.dumps(content).encode()
    try:
        with urllib.request.urlopen(f"{server.url}/v1/models/{path}", body) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.mark.parametrize(
    "instances",
    [
        [{"image_bytes": b64(b"abc")}, {"image_bytes": b64(b"\xff")}],
        [b64(b"abc"), b64(b"\xff")],
    ],
    ids=["named", "bare"],
)
def test_rows(server, instances):
    status, answer = ask(server, "stub:predict", {"instances": instances})
    assert status == 200
    expected = [
        {"prompt": "v2 3", "score": -0.375},
        {"prompt": "v2 1", "score": -0.125},
    ]
    assert answer == {"predictions": expected}


@pytest.mark.parametrize(
    "inputs", [{"image_bytes": [b64(b"abc")]}, [b64(b"abc")]], ids=["named", "bare"]
)
def test_columns(server, inputs):
    content = {"signature_name": "serving_default", "inputs": inputs}
    status, answer = ask(server, "stub/versions/1:predict", content)
    assert status == 200
    assert answer == {"outputs": {"prompt": ["v1 3"], "score": [-0.375]}}


ROW = {"instances": [b64(b"abc")]}


@pytest.mark.parametrize(
    "path, content, status, text",
    [
        ("no:predict", ROW, 404, "Servable not found for request: Latest(no)"),
        (
            "stub/versions/9:predict",
            ROW,
            404,
            "Servable not found for request: Specific(stub, 9)",
        ),
        (
            "stub/labels/no:predict",
            ROW,
            400,
            "Unrecognized servable version label: no",
        ),
        ("stub:guess", ROW, 400, "Malformed request: POST /v1/models/stub:guess"),
        (
            "stub:predict",
            {**ROW, "signature_name": "no"},
            400,
            'Serving signature name: "no" not found in signature def',
        ),
        (
            "stub:predict",
            {"inputs": {"image": [b64(b"abc")]}},
            400,
            "Missing named input: image_bytes in 'inputs' object.",
        ),
        ("no", None, 404, "Could not find any versions of model no"),
        ("stub/versions/9", None, 404, "Could not find version 9 of model stub"),
    ],
)
def test_errors_of_rest(server, path, content, status, text):
    assert ask(server, path, content) == (status, {"error": text})


def test_status_and_metadata_of_rest(server):
    status, answer = ask(server, "stub")
    states = [(v["version"], v["state"]) for v in answer["model_version_status"]]
    assert (status, states) == (200, [("1", "AVAILABLE"), ("2", "AVAILABLE")])
    status, answer = ask(server, "stub/labels/stable/metadata")
    assert status == 200
    assert answer["model_spec"]["version"] == "1"
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert set(signature["outputs"]) == {"prompt", "score"}


def test_metadata_and_status_of_grpc(channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "stub"
    request.metadata_field.append("signature_def")
    service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = service.GetModelMetadata(request, timeout=10)
    assert answer.model_spec.version.value == 2
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    outputs = signatures.signature_def["serving_default"].outputs
    assert outputs["prompt"].dtype == tf.string.as_datatype_enum

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "stub"
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    answer = service.GetModelStatus(request, timeout=10)
    assert [status.version for status in answer.model_version_status] == [1, 2]


@pytest.mark.parametrize(
    "change, code, text",
    [
        (
            lambda request: request.output_filter.append("no"),
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: no Outputs expected to be in "
            "the set {prompt,score}.",
        ),
        (
            lambda request: request.inputs["no"].CopyFrom(tf.make_tensor_proto([1])),
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({image_bytes,no}) != "
            "len({image_bytes}).",
        ),
        (
            lambda request: request.inputs["image_bytes"].CopyFrom(
                tf.make_tensor_proto([[b"x"]])
            ),
            "INVALID_ARGUMENT",
            "Shape of image_bytes is not compatible: (1, 1)",
        ),
        (
            lambda request: setattr(request.model_spec, "signature_name", "no"),
            "FAILED_PRECONDITION",
            'Serving signature key "no" not found.',
        ),
    ],
    ids=["output", "input", "shape", "signature"],
)
def test_errors_of_grpc(channel, change, code, text):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "stub"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"x"]))
    change(request)
    service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.RpcError) as error:
        service.Predict(request, timeout=10)
    assert (error.value.code().name, error.value.details()) == (code, text)


def test_warmup_requests_are_replayed(tmp_path):
    """As the server does: one that does not fit keeps the model from being served."""
    export_stub(tmp_path, "v1")
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"x"]))
    (tmp_path / WARMUP).parent.mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / WARMUP)) as file:
        file.write(log.SerializeToString())
    Servable(tmp_path)
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([[b"x"]]))
    with tf.io.TFRecordWriter(str(tmp_path / WARMUP)) as file:
        file.write(log.SerializeToString())
    with pytest.raises(ServingError, match="not compatible"):
        Servable(tmp_path)


def test_too_large_a_body_is_refused_unread(stubs):
    with ModelServer(stubs, max_bytes=100) as server:
        status, answer = ask(server, "stub:predict", {"instances": ["x" * 200]})
    assert (status, answer) == (413, {"error": "Request Entity Too Large"})


def test_labels_of_the_command_line(capsys, tmp_path):
    pairs = ["m:stable=1", "m:canary=2", "n:stable=3"]
    expected = {"m": {"stable": 1, "canary": 2}, "n": {"stable": 3}}
    assert model_server.read_labels(pairs) == expected
    argv = ["--saved-models", str(tmp_path), "--port", "0", "--rest-port", "0"]
    assert model_server.main([*argv, "--label", "stable=1"]) == 2
    assert "label must be MODEL:LABEL=VERSION" in capsys.readouterr().err
    assert model_server.main(argv) == 2
    assert "saved_models must hold models" in capsys.readouterr().err
