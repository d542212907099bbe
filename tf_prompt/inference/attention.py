"""Pictures of where a captioner looked for each word."""

import io
import math
import pathlib

import matplotlib.figure
import numpy as np
import PIL.Image
import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.inference.model import PromptModel

COLUMNS = 6
# Shown at 5.5rem; sharp up to phones of 1.5 times the pixels.
LOOK_SIZE = 128
_QUALITY = 70
# Written into each PNG, by which the next run knows that it may replace it.
_SOFTWARE = "tf_prompt.attention_strip"


class AttentionStrips:
    """Draws strips for a model that attends, a PNG an image.

    Args:
        model: what wrote the prompts.
        folder: where the PNGs go; created.

    Raises:
        ValueError: if the model has no attention.
    """

    def __init__(self, model: PromptModel, folder: str | pathlib.Path):
        if not model.attends:
            raise ValueError(f"attention goes with captioners. Received: {model.name}")
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._model = model
        self._names: set[str] = set()

    def write(self, path: str | pathlib.Path, prompt: str) -> pathlib.Path:
        """Draws an image file; of equal names in two folders, the later gets a number.

        Returns:
            The PNG's path.

        Raises:
            ValueError: if another picture has that path, such as the image itself.
        """
        path = pathlib.Path(path)
        name = f"{path.stem}.png"
        for number in range(2, 1_000_000):
            if name not in self._names:
                break
            name = f"{path.stem}-{number}.png"
        self._names.add(name)
        output = self._folder / name
        if output.exists() and not _is_strip(output):
            raise ValueError(
                "attention must be a folder without other pictures of these names. "
                f"Received: {output}, which this command did not draw"
            )
        output.write_bytes(self.draw(path.read_bytes(), prompt))
        return output

    def draw(self, data: bytes, prompt: str) -> bytes:
        """Draws one image, and again for each word, bright where the model looked.

        Args:
            data: encoded image.
            prompt: words of the model's vocabulary, as it wrote them.

        Returns:
            An encoded PNG.
        """
        picture = images.decode_image(data, self._model.image_size)
        return draw_strip(picture.numpy(), *self._model.look(picture, prompt))


def _is_strip(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return _SOFTWARE.encode() in file.read(1024)


def draw_strip(picture: np.ndarray, words: list[str], weights: np.ndarray) -> bytes:
    """Lays out a picture and its words' attention.

    Args:
        picture: uint8 `(size, size, 3)`.
        words: the prompt.
        weights: float `(words, regions)`; regions are a square grid.

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
    axes.flat[0].imshow(picture)
    axes.flat[0].set_title("image", fontsize=9, style="italic")
    for axis, word, row in zip(axes.flat[1:], words, weights, strict=False):
        axis.imshow(light_picture(picture, row))
        axis.set_title(word, fontsize=9)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": _SOFTWARE})
    return buffer.getvalue()


def light_picture(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Darkens a picture where the model did not look.

    Args:
        picture: uint8 `(height, width, 3)`.
        weights: float `(regions,)`, a square grid; the largest gets full light.

    Returns:
        uint8, the picture's shape.
    """
    side = math.isqrt(len(weights))
    grid = weights.reshape(side, side, 1) / max(weights.max(), 1e-12)
    mask = tf.image.resize(grid, picture.shape[:2], method="bicubic").numpy()
    # A fifth of the light stays: what was not looked at must be recognisable.
    return np.clip(picture * (0.2 + 0.8 * np.clip(mask, 0, 1)), 0, 255).astype(np.uint8)


def draw_words(model: PromptModel, picture, prompt: str) -> list[bytes]:
    """Draws a picture once for each word, bright where the model looked.

    Args:
        model: what wrote the prompt.
        picture: uint8 `(image_size, image_size, 3)`.
        prompt: words of the model's vocabulary, as it wrote them.

    Returns:
        A WebP of `attention.LOOK_SIZE` pixels a side for each word.
    """
    pixels = np.asarray(picture)
    _, weights = model.look(picture, prompt)
    return [_encode(light_picture(pixels, row)) for row in weights]


def _encode(pixels: np.ndarray) -> bytes:
    size = (LOOK_SIZE, LOOK_SIZE)
    image = PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=_QUALITY)
    return buffer.getvalue()
