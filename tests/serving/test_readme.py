"""Whoever pastes the calls of saved_models/README.md gets a prompt."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import tensorflow as tf

from tests.conftest import draw_record
from tests.serving.model_server import ModelServer
from tf_prompt import predict
from tf_prompt.data import images

README = pathlib.Path(__file__).parents[2] / "saved_models" / "README.md"
SECTION = README.read_text().partition("\n## Ask it\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
PROMPT = "a red patch left"


@pytest.fixture
def paste(saved_models, tmp_path, monkeypatch):
    """A function that puts a server's ports into a block, in a folder with an image."""
    picture = images.decode_image(draw_record("red", "left", 0).image, 32)
    (tmp_path / "image.png").write_bytes(tf.io.encode_png(picture).numpy())
    monkeypatch.chdir(tmp_path)
    with ModelServer(saved_models) as server:
        grpc, rest = server.address, server.url.removeprefix("http://")

        def fill_in(block):
            assert "localhost:850" in block
            return block.replace("localhost:8500", grpc).replace("localhost:8501", rest)

        yield fill_in


def blocks_of(language, part):
    found = [text for kind, text in BLOCKS if kind == language and part in text]
    assert len(found) == 1, f"{README} must have one block of {part}"
    return found[0]


def test_every_block_is_run_here():
    parts = ("tf_prompt.predict", "curl", "urllib", "grpc")
    assert len(BLOCKS) == len(parts)
    assert all(any(part in text for part in parts) for _, text in BLOCKS)


def test_predict_of_the_readme(paste, capsys):
    lines = paste(blocks_of("sh", "tf_prompt.predict")).splitlines()
    assert len(lines) == 2
    for line in lines:
        program, *argv = line.partition(" -m tf_prompt.predict ")[::2]
        assert program == "python"
        assert predict.main(shlex.split(argv[0])) == 0
        assert capsys.readouterr().out == f"image.png\t{PROMPT}\n"


def test_curl_of_the_readme(paste):
    if not (shutil.which("curl") and shutil.which("base64")):
        pytest.skip("needs the commands curl and base64")
    done = subprocess.run(
        ["sh", "-c", paste(blocks_of("sh", "curl"))],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "no_proxy": "*"},
    )
    status, end = json.JSONDecoder().raw_decode(done.stdout)
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    answer = json.loads(done.stdout[end:])
    assert answer["predictions"][0]["prompt"] == PROMPT


@pytest.mark.parametrize("part, count", [("urllib", 2), ("grpc", 1)])
# Pasted code leaves its file to the interpreter's end.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_python_of_the_readme(paste, capsys, part, count):
    exec(compile(paste(blocks_of("python", part)), str(README), "exec"), {})
    assert capsys.readouterr().out.count(PROMPT) == count
