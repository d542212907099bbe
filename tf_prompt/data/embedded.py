"""Reads the prompt that an image file carries: what its generator wrote into it.

Read are the texts of A1111 and what writes like it, ComfyUI, Fooocus, InvokeAI,
NovelAI, SwarmUI, and our own `--write-metadata`. No model sees any of it.

Of other readers, sd-parsers 0.6 was tried: it wants a file opened by Pillow, ComfyUI's
two graphs at once, and reads EXIF in big-endian UTF-16 only; its caches are global,
and it follows a graph by recursion. sd-prompt-reader 1.3.5 is a desktop program that
pins Pillow 10.3.
"""

import dataclasses
import re

from tf_prompt.data import embedded_chunks, embedded_formats

# A text is cut nowhere: one that is longer is no prompt.
MAX_LENGTH = 2**16
_MAX_SEED, _MAX_STEPS = 2**64, 10**6
# Nothing that a terminal obeys, and no half of a pair, which UTF-8 cannot hold.
_UNFIT = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What an image file says about its making.

    Attributes:
        prompt: never empty; may have several lines.
        negative_prompt: None where the file does not say.
        seed: as above.
        steps: as above.
        model: name of a checkpoint or file, as above.
    """

    prompt: str
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    model: str | None = None


def read_embedded(image_bytes: bytes) -> Embedded | None:
    """Reads what an image file says about its making.

    Where several programs wrote into a file, the first of A1111 (also Fooocus and
    SwarmUI), InvokeAI, NovelAI and ComfyUI counts, and our own note last: that is a
    prediction. Time and memory are bounded, whatever the file holds: 2 s on one core
    at most, while a sound file takes a millisecond.

    Args:
        image_bytes: content of a PNG, JPEG or WebP file; pixels are not decoded.

    Returns:
        What the file says; None if it holds no prompt, or one that is broken.
    """
    texts = embedded_chunks.read_texts(image_bytes)
    for read in embedded_formats.READERS:
        try:
            found = read(texts)
        except embedded_formats.BROKEN:
            continue
        if found and (prompt := _clean(found.get("prompt"))):
            return Embedded(
                prompt=prompt,
                negative_prompt=_clean(found.get("negative_prompt")),
                seed=_to_number(found.get("seed"), _MAX_SEED),
                steps=_to_number(found.get("steps"), _MAX_STEPS),
                model=_clean(found.get("model")),
            )
    return None


def _clean(text) -> str | None:
    """A text that can be shown; None of what is none, or of nothing."""
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        return None
    text = text.replace("\r\n", "\n")
    return _UNFIT.sub("", text).strip() or None


def _to_number(value, limit: int) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value.strip()):
        value = int(value.strip())
    is_whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (isinstance(value, int) or is_whole):
        return None
    return int(value) if 0 <= value < limit else None
