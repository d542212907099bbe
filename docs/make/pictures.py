"""Makes the pictures of README and the site, but for `real_pictures.jpg`.

From the root of a checkout, with playwright and Chromium, after `tf_prompt.fit`:

    python docs/make/pictures.py --run-dir runs/transformer_tiny
"""

import argparse
import contextlib
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

import matplotlib.pyplot as plt
import tensorflow as tf
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from playwright import sync_api

from tf_prompt.data import records
from tf_prompt.runs.run import Run

FOLDER = pathlib.Path(__file__).parents[1] / "images"
SCREENS = {"page_desktop": (1280, 1000), "page_phone": (390, 1400)}
# The flow of data: a column each, of a title and what is in it.
COLUMNS = (
    ("Sources", ("DiffusionDB", "your pictures", "toy set")),
    ("pipelines", ("download, inspect", "write_records", "beam")),
    ("Records", ("TFRecord shards", "three splits,", "no prompt in two")),
    ("fit", ("captioners", "regressors", "CLIP, ensembles")),
    ("Run", ("best model", "vocabulary", "checkpoints")),
    ("Use", ("evaluate, report", "predict, demo", "export, serve")),
)


def main() -> None:
    """Makes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-dir", type=pathlib.Path, required=True)
    run_dir = parser.parse_args().run_dir
    FOLDER.mkdir(exist_ok=True)
    draw_architecture(FOLDER / "architecture.png")
    shutil.copy(run_dir / "curves.png", FOLDER / "curves.png")
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        image = write_test_image(run_dir, pathlib.Path(folder))
        draw_attention(run_dir, image, FOLDER / "attention.png")
        show_gallery(browser, run_dir, FOLDER / "gallery.png")
        with run_demo(run_dir) as address:
            for name, (width, height) in SCREENS.items():
                path = FOLDER / f"{name}.png"
                show_page(browser, address, image, path, width, height)
    for path in FOLDER.glob("*.png"):
        shrink(path)


def draw_architecture(path: pathlib.Path) -> None:
    """Draws the flow of data, from left to right."""
    figure, axis = plt.subplots(figsize=(12, 2.6), dpi=100)
    axis.set(xlim=(0, 12), ylim=(0, 2.6))
    axis.axis("off")
    for number, (title, lines) in enumerate(COLUMNS):
        left = 2 * number + 0.08
        is_command = title in ("pipelines", "fit", "Use")
        box = FancyBboxPatch(
            (left, 0.3),
            1.7,
            2,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor="#e8eaf6" if is_command else "#fff8e1",
            edgecolor="#5c6bc0" if is_command else "#c9a227",
        )
        axis.add_patch(box)
        middle = left + 0.85
        axis.text(middle, 2, title, ha="center", va="center", weight="bold", size=12)
        for row, line in enumerate(lines):
            axis.text(middle, 1.5 - 0.4 * row, line, ha="center", va="center", size=9)
        if number:
            axis.annotate(
                "",
                xy=(left - 0.02, 1.3),
                xytext=(left - 0.28, 1.3),
                arrowprops={"arrowstyle": "-|>", "color": "#444444"},
            )
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def write_test_image(run_dir: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Writes the first test image of a run's data, and returns its path."""
    data = Run(run_dir).find_data()
    shards = tf.data.TFRecordDataset(records.list_shards(data, "test"))
    (serialised,) = shards.take(1)
    path = folder / "picture.jpg"
    path.write_bytes(records.parse(serialised)["image"].numpy())
    return path


def draw_attention(run_dir, image: pathlib.Path, path: pathlib.Path) -> None:
    """Lets `predict` draw where the model looked for each word."""
    with tempfile.TemporaryDirectory() as folder:
        call("predict", "--run-dir", run_dir, image, "--attention", folder)
        (strip,) = pathlib.Path(folder).rglob("*.png")
        shutil.copy(strip, path)


def show_gallery(browser, run_dir: pathlib.Path, path: pathlib.Path) -> None:
    """Photographs the top of the page that `evaluate` writes."""
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.goto((run_dir / "evaluation" / "gallery.html").resolve().as_uri())
    page.screenshot(path=path)
    page.close()


def show_page(browser, address, image, path, width: int, height: int) -> None:
    """Photographs the web page with the answer for an image."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(address)
    chosen = page.locator("#picture input[type=file]")
    chosen.first.set_input_files([image], timeout=60_000)
    page.wait_for_selector(".tfp-words img", timeout=120_000)
    page.wait_for_timeout(1_000)
    page.screenshot(path=path)
    page.close()


@contextlib.contextmanager
def open_browser():
    """Opens the system's Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def run_demo(run_dir: pathlib.Path):
    """Runs the web page, and gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tf_prompt.demo", "--run-dir", str(run_dir)]
    command += ["--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()


def call(verb: str, *arguments) -> None:
    """Runs a command of tf_prompt."""
    command = [sys.executable, "-m", f"tf_prompt.{verb}", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def shrink(path: pathlib.Path) -> None:
    """Stores a picture in 256 colours, a third of the bytes."""
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
