"""Reads image files, and what they say of their own making; decodes nothing."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import tqdm

from tf_prompt.data.embedded import Embedded, read_embedded

# More than the pixels that are decoded have in any format.
MAX_BYTES = 2**28
NOTHING_EMBEDDED = "the file does not say its prompt"
# Files above which a bar is shown: a thousand take a second.
_MANY = 2000


def read_image(path: pathlib.Path) -> bytes:
    """Reads an image file.

    Raises:
        OSError: also for a file of more than `MAX_BYTES`, and for one whose name no
            result can show.
    """
    if printable(path) != os.fspath(path):
        raise OSError("a name that is not UTF-8: give the file another")
    if path.stat().st_size > MAX_BYTES:
        raise OSError(f"more than {MAX_BYTES // 2**20} MB")
    return path.read_bytes()


def printable(path: pathlib.Path) -> str:
    """Gives a path as text; of bytes in it that are no UTF-8, their numbers."""
    return os.fspath(path).encode(errors="backslashreplace").decode()


def embedded_field(data: bytes) -> dict:
    """What a file says of its making, as the field `embedded` of a result.

    Returns:
        `{"embedded": {…}}` with the fields of `Embedded`; empty if it says nothing.
    """
    found = read_embedded(data)
    return {} if found is None else {"embedded": dataclasses.asdict(found)}


def embedded_names() -> list[str]:
    """Names of columns for what files say, in the order of `Embedded`."""
    return [f"embedded_{field.name}" for field in dataclasses.fields(Embedded)]


def read_prompts(paths: Sequence[pathlib.Path]) -> Iterator[dict]:
    """Reads what image files say of their making; no model has a part in it.

    Yields:
        In the order of `paths`: `{"path", "prompt", "embedded"}`, or
        `{"path", "error"}`.
    """
    for path in tqdm.tqdm(paths, unit="image", disable=len(paths) < _MANY):
        row = {"path": printable(path)}
        try:
            found = embedded_field(read_image(path))
        except OSError as error:
            yield {**row, "error": error.strerror or str(error)}
            continue
        if found:
            yield {**row, "prompt": found["embedded"]["prompt"], **found}
        else:
            yield {**row, "error": NOTHING_EMBEDDED}
