"""The command that serves a model over HTTP, from its flags to its end."""

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

pytest.importorskip("fastapi", reason="needs tf_prompt[serve]")

from tests import checks  # noqa: E402
from tests.conftest import draw_record  # noqa: E402
from tests.serving.http.colours import wait_for  # noqa: E402
from tf_prompt import serve  # noqa: E402
from tf_prompt.serving.http import server  # noqa: E402

ROOT = pathlib.Path(__file__).parents[1]


def post(address, data):
    """The answer to an uploaded file."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    body += b"\r\n" + data + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{address}/prompt", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "one of --run-dir, --saved-model and --server must be given"),
        (["--run-dir", "r", "--server", "h:1"], "one of --run-dir, --saved-model and"),
        (["--run-dir", "r", "--host", "0.0.0.0"], "or a token be set: --token, or $TF"),
        (["--run-dir", "r", "--token", ""], "token must not be empty"),
        (["--run-dir", "r", "--port", "70000"], "port must be from 0 to 65535"),
        (["--run-dir", "r", "--queue", "0"], "queue must be positive"),
        (["--saved-model", "s", "--bank", "b"], "bank needs --run-dir"),
        (["--run-dir", "absent", "--port", "0"], "run_dir must hold a run"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(argv, message, capsys, monkeypatch):
    monkeypatch.delenv(serve.TOKEN, raising=False)
    assert checks.exit_code(serve.main, argv) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and message in captured.err
    assert captured.out == ""


def test_the_token_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv(serve.TOKEN, "secret")
    options = serve.ServeConfig(run_dir="runs/a", host="0.0.0.0")
    assert options.secret == "secret" and options.served_name == "a"
    assert serve.ServeConfig(run_dir="r", token="other").secret == "other"


def test_a_taken_port_is_told_before_the_model_loads(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve.main(["--run-dir", "absent", "--port", port]) == 2
    assert "host and port must be this machine's and free" in capsys.readouterr().err


def test_a_missing_extra_is_told(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert serve.main(["--run-dir", "absent"]) == 2
    assert 'pip install "tf_prompt[serve]"' in capsys.readouterr().err


@pytest.mark.parametrize("place", ["run_dir", "saved_model"])
def test_a_run_and_its_export_are_served(place, request, monkeypatch):
    """In this process, whose Keras is loaded already."""
    folder = {"run_dir": "tiny_run", "saved_model": "tiny_export"}[place]
    folder = request.getfixturevalue(folder)
    running = []

    class Recorded(server.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets=sockets)
            running.append((self, sockets[0].getsockname()[1]))

    monkeypatch.setattr(server, "Server", Recorded)
    argv = [f"--{place.replace('_', '-')}", str(folder), "--port", "0"]
    thread = threading.Thread(target=serve.main, args=(argv,))
    thread.start()
    wait_for(lambda: running, 120)
    found, port = running[0]
    address = f"http://127.0.0.1:{port}"
    try:
        answer = post(address, draw_record("blue", "middle", 0).image)
        assert answer["prompt"] == "a blue patch middle" and -1 < answer["score"] <= 0
        with urllib.request.urlopen(f"{address}/health", timeout=60) as health:
            name = {"run_dir": "run", "saved_model": "transformer_tiny"}[place]
            assert json.load(health)["model"] == name
    finally:
        found.should_exit = True
        thread.join(60)


@pytest.mark.slow
def test_sigterm_ends_the_process_well(tiny_export):
    argv = [sys.executable, "-m", "tf_prompt.serve", "--saved-model", str(tiny_export)]
    with subprocess.Popen(
        [*argv, "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        with contextlib.ExitStack() as stack:
            stack.callback(process.kill)
            address = process.stdout.readline().split()[0]
            answer = post(address, draw_record("red", "top", 0).image)
            assert answer["prompt"] == "a red patch top"
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(60) == 0
