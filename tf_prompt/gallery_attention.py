"""Which pictures of a gallery show where the model looked, and these views."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image

from tf_prompt import gallery
from tf_prompt.attention_strip import WordAttention, light_picture

# Twelve cards of twelve words are about 300 kB: little beside 500 pictures.
NUM_EACH = 4
NOTE = (
    f"The {NUM_EACH} best, {NUM_EACH} middle and {NUM_EACH} worst pictures by word F1 "
    "also show where the model looked for each word; the brightest part is where it "
    "looked most for that word."
)
_QUALITY = 70


def choose_examples(rows: Sequence[Mapping], num_each: int = NUM_EACH) -> list[str]:
    """Chooses the pictures with the best, the middle and the worst prompts.

    Only those whose prompt has words: there is nothing to show for none. Pictures
    of one word F1 keep their order.

    Args:
        rows: mappings with `image_id`, `reference`, `prediction` and `score`.
        num_each: int > 0. Pictures of each of the three kinds.

    Returns:
        At most `3 * num_each` image ids, the worst first; all if there are no more.
    """
    written = [row for row in rows if row["prediction"].split()]
    if len(written) <= 3 * num_each:
        return [row["image_id"] for row in written]
    scores = [found["word_f1"] for found in gallery.per_example_scores(written)]
    order = sorted(range(len(written)), key=scores.__getitem__)
    start = (len(order) - num_each) // 2
    middle = order[start : start + num_each]
    chosen = [*order[:num_each], *middle, *order[-num_each:]]
    return [written[index]["image_id"] for index in chosen]


def draw_words(attention: WordAttention, picture, prompt: str) -> list[bytes]:
    """Draws a picture once for each word, bright where the model looked.

    Args:
        attention: of the model that wrote the prompt.
        picture: uint8 `(image_size, image_size, 3)`.
        prompt: words of the model's vocabulary, as it wrote them.

    Returns:
        A WebP of `gallery.LOOK_SIZE` pixels a side for each word.
    """
    pixels = np.asarray(picture)
    _, weights = attention.read(picture, prompt)
    return [_encode(light_picture(pixels, row)) for row in weights]


def _encode(pixels: np.ndarray) -> bytes:
    size = (gallery.LOOK_SIZE, gallery.LOOK_SIZE)
    image = PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=_QUALITY)
    return buffer.getvalue()
