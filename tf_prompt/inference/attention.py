"""Draws where a captioner looked for each word."""

import hashlib
import io
import itertools
import math
import os
import pathlib

import matplotlib.figure
import numpy as np
import PIL.Image
import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.files import write_whole
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.places import Places

COLUMNS = 6
# Pixels. Shown at 5.5rem; sharp on phones with up to 1.5 times the pixel density.
LOOK_SIZE = 128
_QUALITY = 70
# Written into each PNG, so that the next run knows that it may replace the file, and
# for which image.
_SOFTWARE, _SOURCE = "tf_prompt.attention_strip", "Source"


class AttentionStrips:
    """Draws a strip per image, a PNG that shows the attention for each word.

    Args:
        model: the model that wrote the prompts.
        folder: folder for the PNGs; created if needed.

    Raises:
        ValueError: if the model has no attention.
    """

    def __init__(self, model: PromptModel, folder: str | pathlib.Path):
        if not model.attends:
            raise ValueError(f"attention needs a captioner. Received: {model.name}")
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._model = model
        self._outputs: dict[str, pathlib.Path] = {}
        self._taken: set[pathlib.Path] = set()

    def plan(self, places: Places) -> None:
        """Chooses the PNG of each image, in the same subfolders as the images.

        If images would share a PNG, such as `1.png` and `1.jpg`, the later one gets a
        number; so does one whose PNG from an earlier run shows another image.

        Raises:
            ValueError: if a PNG's path is taken by another image, such as the image
                itself.
        """
        for path in places.paths:
            self._choose(path, places.below(path))

    def write(self, path: str | pathlib.Path, prompt: str) -> pathlib.Path:
        """Draws the strip of an image file.

        Args:
            path: the image file.
            prompt: the prompt, as the model wrote it.

        Returns:
            Path of the PNG.

        Raises:
            OSError: if the image cannot be read, or the PNG cannot be written.
            ValueError: as `plan`, for an image that was not planned.
        """
        path = pathlib.Path(path)
        output = self._outputs.get(os.path.abspath(path))
        if output is None:
            output = self._choose(path, pathlib.Path(path.name))
        strip = self.draw(path.read_bytes(), prompt, _digest(path))
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output, strip)
        return output

    def _choose(self, path, below) -> pathlib.Path:
        source = os.path.abspath(path)
        if source in self._outputs:
            return self._outputs[source]
        output = self._folder / below.with_suffix(".png")
        for number in itertools.count(2):
            if output not in self._taken and _may_replace(output, path):
                break
            output = self._folder / below.with_name(f"{below.stem}-{number}.png")
        self._outputs[source] = output
        self._taken.add(output)
        return output

    def draw(self, data: bytes, prompt: str, source: str = "") -> bytes:
        """Draws an image, and again for each word, bright where the model looked.

        Args:
            data: encoded image.
            prompt: the prompt, as the model wrote it.
            source: ASCII, written into the PNG to identify the image.

        Returns:
            An encoded PNG.

        Raises:
            tf.errors.InvalidArgumentError: if the image cannot be decoded.
        """
        image = images.decode_image(data, self._model.image_size)
        return draw_strip(image.numpy(), *self._model.look(image, prompt), source)


def _digest(path: pathlib.Path) -> str:
    # Not the path itself, because strips are shown to others.
    encoded = os.fsencode(os.path.abspath(path))
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _may_replace(output: pathlib.Path, path: pathlib.Path) -> bool:
    """Whether this strip may replace the file; raises if we did not draw the file."""
    if not output.exists():
        return True
    with output.open("rb") as file:
        head = file.read(1024)
    if _SOFTWARE.encode() not in head:
        raise ValueError(
            "attention must be a folder without other images of these names. "
            f"Received: {output}, which this command did not draw"
        )
    # Strips of earlier versions do not identify their image.
    return f"{_SOURCE}\0".encode() not in head or _digest(path).encode() in head


def draw_strip(
    image: np.ndarray, words: list[str], weights: np.ndarray, source: str = ""
) -> bytes:
    """Draws an image and the attention for each word.

    Args:
        image: uint8 `(size, size, 3)`.
        words: the words of the prompt.
        weights: float `(words, regions)`; the regions are a square grid.
        source: ASCII, written into the PNG to identify the image.

    Returns:
        An encoded PNG.
    """
    cells = len(words) + 1
    columns = min(COLUMNS, cells)
    rows = math.ceil(cells / columns)
    figure = matplotlib.figure.Figure(figsize=(1.7 * columns, 1.95 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    axes.flat[0].imshow(image)
    axes.flat[0].set_title("image", fontsize=9, style="italic")
    for axis, word, row in zip(axes.flat[1:], words, weights, strict=False):
        axis.imshow(highlight(image, row))
        axis.set_title(word, fontsize=9)
    figure.tight_layout()
    buffer = io.BytesIO()
    metadata = {"Software": _SOFTWARE, **({_SOURCE: source} if source else {})}
    figure.savefig(buffer, format="png", dpi=110, metadata=metadata)
    return buffer.getvalue()


def highlight(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Darkens an image where the model did not look.

    Args:
        image: uint8 `(height, width, 3)`.
        weights: float `(regions,)`, a square grid; the largest stays fully bright.

    Returns:
        uint8, of the same shape as the image.
    """
    side = math.isqrt(len(weights))
    grid = weights.reshape(side, side, 1) / max(weights.max(), 1e-12)
    mask = tf.image.resize(grid, image.shape[:2], method="bicubic").numpy()
    # A fifth of the brightness stays, so that the rest can be recognised.
    return np.clip(image * (0.2 + 0.8 * np.clip(mask, 0, 1)), 0, 255).astype(np.uint8)


def draw_words(model: PromptModel, image, prompt: str) -> list[bytes]:
    """Draws an image once for each word, bright where the model looked.

    Args:
        model: the model that wrote the prompt.
        image: uint8 `(image_size, image_size, 3)`.
        prompt: the prompt, as the model wrote it.

    Returns:
        list of one WebP per word, `LOOK_SIZE` pixels a side.
    """
    pixels = np.asarray(image)
    _, weights = model.look(image, prompt)
    return [_encode(highlight(pixels, row)) for row in weights]


def _encode(pixels: np.ndarray) -> bytes:
    size = (LOOK_SIZE, LOOK_SIZE)
    image = PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=_QUALITY)
    return buffer.getvalue()
