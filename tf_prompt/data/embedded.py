"""Reads the prompt that a program wrote into an image file.

Supported are A1111 and compatible programs, ComfyUI, Fooocus, InvokeAI, NovelAI,
SwarmUI, and our own `--write-metadata`. None of it is given to a model.

Other readers: sd-parsers 0.6 needs a file opened by Pillow and both graphs of ComfyUI,
reads EXIF in big-endian UTF-16 only, has global caches, and follows graphs by
recursion; sd-prompt-reader 1.3.5 is a desktop program that pins Pillow 10.3.
"""

import dataclasses
import re

from tf_prompt.data import embedded_chunks, embedded_formats

# Longer texts are not prompts.
MAX_LENGTH = 2**16
_MAX_SEED, _MAX_STEPS = 2**64, 10**6
# Control characters, and lone surrogates, which UTF-8 cannot encode.
_UNFIT = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Embedded:
    """How an image was generated, according to its file.

    Attributes:
        prompt: str, not empty; may have several lines.
        negative_prompt: str, or None if the file does not have it.
        seed: int, or None.
        steps: int, or None.
        model: name of a checkpoint or file, or None.
    """

    prompt: str
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    model: str | None = None


def read_embedded(image_bytes: bytes) -> Embedded | None:
    """Reads how an image was generated from its file's metadata.

    If several programs wrote into the file, the first of A1111 (with Fooocus and
    SwarmUI), InvokeAI, NovelAI and ComfyUI is used; our own metadata come last, since
    they are predictions. Time and memory are bounded for any file: at most 2 s on one
    core, usually a millisecond.

    Args:
        image_bytes: content of a PNG, JPEG or WebP file; pixels are not decoded.

    Returns:
        `Embedded`; None if there is no prompt, or it is damaged.
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
    """Returns a text that can be shown; None if it is no text, or empty."""
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
