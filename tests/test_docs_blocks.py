"""The blocks of each page run in order, in a folder with what the page needs."""

import contextlib
import importlib
import io
import itertools
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image, PngImagePlugin

from tests import documentation
from tests.conftest import COLOURS, PLACES, draw_record
from tests.workplace import write_interrogator
from tf_prompt.data.toy import diffusiondb

# Pages that train models of their own.
LONG = ("competition", "diffusiondb", "your_folder")
PAGES = [
    path
    for path in documentation.pages()
    if any(block.is_run for block in documentation.blocks_of(path))
]
PATIENCE = 120


def write_image(path: pathlib.Path, colour="red", place="left", prompt=None) -> str:
    """Draws a patch, with its prompt inside as A1111 puts it; returns the prompt."""
    record = draw_record(colour, place, 0)
    prompt = prompt or record.prompt
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", f"{prompt}\nSteps: 20, Seed: 1")
    with Image.open(io.BytesIO(record.image)) as image:
        image.save(path, format="PNG", pnginfo=notes)
    return prompt


@pytest.fixture
def fill(tiny_run, tiny_shards, tmp_path):
    """A function that puts what a page needs into the folder, by name."""

    def my_pictures():
        colours = list(COLOURS)
        # So many, and so different, that no split stays empty.
        for number, (first, second) in enumerate(
            itertools.product("bdfghklm", "aeiou")
        ):
            for place in PLACES:
                words = [f"{first}{second}{place}{letter}" for letter in "nrst"]
                path = tmp_path / "my_pictures" / f"{number}-{place}.png"
                write_image(path, colours[number % 4], place, " ".join(words))

    def kaggle():
        rows = ["imgId,prompt"]
        for name in list(COLOURS)[:2]:
            path = tmp_path / "kaggle" / "images" / f"{name}.png"
            rows.append(f'{name},"{write_image(path, name)}"')
        (tmp_path / "kaggle" / "prompts.csv").write_text("\n".join(rows) + "\n")

    def toy_diffusiondb():
        argv = ["--output", str(tmp_path / "diffusiondb"), "--parts", "2"]
        argv += ["--images-per-part", "60", "--image-size", "32"]
        assert diffusiondb.main(argv) == 0

    makers = {
        "runs/transformer_tiny": lambda p: shutil.copytree(tiny_run, p),
        "runs/thesis": lambda p: shutil.copytree(tiny_run, p),
        "runs/clip": lambda p: write_interrogator(p, tiny_shards),
        "shards": lambda p: shutil.copytree(tiny_shards, p),
        "my_pictures": lambda _: my_pictures(),
        "folder": lambda p: write_image(p / "sub" / "red.png"),
        "kaggle": lambda _: kaggle(),
        "diffusiondb": lambda _: toy_diffusiondb(),
        "prompts.csv": lambda p: p.write_text("prompt\n" + "a cat by monet\n" * 9),
    }
    for name in ("a.png", "image.png", "picture.png"):
        makers[name] = write_image

    def make(names):
        (tmp_path / "runs").mkdir()
        for name in names:
            makers[name](tmp_path / name)

    return make


def run_block(block: documentation.Block, ports: dict[str, str]) -> None:
    """Runs a block: plain commands and Python in this process, the rest in a shell."""
    source = block.source
    for port, free in ports.items():
        source = source.replace(f":{port}/", f":{free}/")
    if block.language == "python":
        exec(compile(source, "block", "exec"), {})
        return
    flags = shlex.split(block.value) if block.kind == "run with" else []
    plain = list(documentation.commands_of(block))
    if len(plain) == len(block.lines):
        for name, argv in plain:
            module = importlib.import_module(name)
            assert module.main([*argv, *flags]) == 0, (name, argv)
    else:
        assert not flags
        shell = ["bash", "-euo", "pipefail", "-c", source]
        done = subprocess.run(shell, timeout=PATIENCE, env=documentation.environment())
        assert done.returncode == 0, source


@contextlib.contextmanager
def serve(block: documentation.Block, ports: dict[str, str]):
    """Keeps the block's command in the background, at a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = str(probe.getsockname()[1])
    port = re.search(r":(\d+)/", block.value)[1]
    ports[port] = free
    ((module, argv),) = documentation.commands_of(block)
    command = [sys.executable, "-m", module, *argv, "--port", free]
    with subprocess.Popen(
        command, env=documentation.environment(), stdout=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(block.value.replace(f":{port}/", f":{free}/"), process)
            yield
        finally:
            process.terminate()


def wait_for(address: str, process: subprocess.Popen) -> None:
    """Waits until an address answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None and time.monotonic() < end, address
        try:
            opener.open(address, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)


@pytest.mark.slow
# Programs in one process leave open what a process of their own would close.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=str(path.relative_to(documentation.DOCS)),
            marks=[pytest.mark.long] if path.stem in LONG else [],
        )
        for path in PAGES
    ],
)
def test_blocks_of_a_page_run(path, fill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in documentation.environment().items():
        monkeypatch.setenv(name, value)
    fill(documentation.needs_of(path))
    ports: dict[str, str] = {}
    with contextlib.ExitStack() as servers:
        for block in documentation.blocks_of(path):
            if block.is_run and block.kind == "serves":
                servers.enter_context(serve(block, ports))
            elif block.is_run:
                run_block(block, ports)


def test_a_failing_block_is_noticed():
    with pytest.raises(AssertionError):
        run_block(documentation.Block("bash", "test -f absent\n", None, None), {})
    with pytest.raises(ZeroDivisionError):
        run_block(documentation.Block("python", "1 / 0\n", None, None), {})
