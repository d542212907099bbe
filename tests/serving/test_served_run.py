"""A trained run, exported and served, as `predict --server` asks it."""

import json

import numpy as np
import pytest

from tests import checks
from tests.conftest import COLOURS, PLACES, draw_record
from tests.serving.model_server import ModelServer
from tf_prompt import predict
from tf_prompt.serving.saved_model import SavedPromptWriter

RECORDS = [draw_record(colour, place, 0) for colour in COLOURS for place in PLACES]
TRANSPORTS = pytest.mark.parametrize("transport", ["grpc", "rest"])


@pytest.fixture(scope="module")
def served(saved_models):
    """A server of the run, which joins requests up to 32 images."""
    with ModelServer(saved_models, batch_size=32) as server:
        yield {"grpc": server.address, "rest": server.url}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A picture of each prompt, in files."""
    folder = tmp_path_factory.mktemp("pictures")
    for record in RECORDS:
        (folder / record.image_id).write_bytes(record.image)
    return folder


def predict_rows(argv, capsys, code=0):
    assert predict.main([*map(str, argv), "--json"]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@TRANSPORTS
def test_same_prompts_as_in_process(served, saved_models, folder, transport, capsys):
    version = saved_models / "transformer_tiny" / "1"
    expected = SavedPromptWriter(version)([record.image for record in RECORDS])
    names = [record.image_id for record in RECORDS]
    columns = (expected["prompt"], expected["score"])
    by_name = {name: row for name, *row in zip(names, *columns, strict=True)}
    argv = ["--server", served[transport], folder, "--batch-size", 5]
    rows = predict_rows(argv, capsys)
    assert len(rows) == 12
    for row in rows:
        prompt, score = by_name[row["path"].rpartition("/")[2]]
        assert row["prompt"] == prompt.decode()
        np.testing.assert_allclose(row["score"], score, atol=1e-5)
    # The run knows these pictures by heart.
    assert {row["prompt"] for row in rows} >= {"a red patch left"}


@TRANSPORTS
def test_a_broken_file_is_an_error_of_its_own(served, tmp_path, transport, capsys):
    (tmp_path / "a.jpg").write_bytes(RECORDS[0].image)
    (tmp_path / "b.png").write_text("no image")
    first, second = predict_rows(["--server", served[transport], tmp_path], capsys, 1)
    assert first["prompt"] == "a red patch left"
    assert set(second) == {"path", "error"}
    assert second["error"].startswith("not an image")


@TRANSPORTS
@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model", "nope"], "Servable not found for request: Latest(nope)"),
        (["--model-version", "9"], "Specific(transformer_tiny, 9)"),
        (["--model-label", "x"], "Unrecognized servable version label: x"),
        (["--num-beams", "2"], "other ways of decoding need --run-dir"),
        (["--attention", "a"], "attention needs --run-dir"),
        (["--run-dir", "r"], "one of --run-dir, --saved-model, --server"),
        (["--ca-cert", "no.pem"], "ca_cert must be a PEM file|begin with https://"),
        (["--timeout", "0"], "timeout must be positive"),
    ],
)
def test_wrong_use_is_one_line(served, folder, transport, flags, message, capsys):
    argv = ["--server", served[transport], str(folder), *flags]
    assert checks.exit_code(predict.main, argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert any(part in captured.err for part in message.split("|"))


@TRANSPORTS
def test_no_server(folder, transport, capsys):
    """Nothing listens on port 1."""
    address = "localhost:1" if transport == "grpc" else "http://localhost:1"
    argv = ["--server", address, str(folder), "--retries", "0"]
    assert predict.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"predict: error: server {address} must answer. ")
    assert captured.err.count("\n") == 1


def test_rows_of_another_server_are_not_gone_on_with(served, folder, tmp_path, capsys):
    """What was written is known by server and model; a finished file begins anew."""
    table = tmp_path / "t.csv"
    for flags in ([], ["--model-version", "1"]):
        argv = ["--server", served["grpc"], folder, "--csv", table, *flags]
        assert len(predict_rows(argv, capsys)) == 12
        assert len(table.read_text().splitlines()) == 13
