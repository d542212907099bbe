"""Reads image files and the prompts in their metadata, without decoding pixels."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import tqdm

from tf_prompt.data.embedded import Embedded, read_embedded

# More than the largest decodable image takes in any format.
MAX_BYTES = 2**28
NOTHING_EMBEDDED = "the file's metadata has no prompt"
# For fewer files no progress bar is shown: a thousand take a second.
_MANY = 2000


def read_image(path: pathlib.Path) -> bytes:
    """Reads an image file.

    Raises:
        OSError: if it cannot be read, has more than `MAX_BYTES`, or has a name that is
            not UTF-8.
    """
    if printable(path) != os.fspath(path):
        raise OSError("the name is not UTF-8: rename the file")
    if path.stat().st_size > MAX_BYTES:
        raise OSError(f"more than {MAX_BYTES // 2**20} MB")
    return path.read_bytes()


def printable(path: pathlib.Path) -> str:
    """Converts a path to text; bytes that are not UTF-8 become escapes."""
    return os.fspath(path).encode(errors="backslashreplace").decode()


def embedded_field(data: bytes) -> dict:
    """Reads a file's generation metadata as the field `embedded` of a result.

    Args:
        data: content of an image file.

    Returns:
        `{"embedded": {…}}` with the fields of `Embedded`; empty if there are none.
    """
    found = read_embedded(data)
    return {} if found is None else {"embedded": dataclasses.asdict(found)}


def embedded_names() -> list[str]:
    """Returns the names of columns for embedded fields, in the order of `Embedded`."""
    return [f"embedded_{field.name}" for field in dataclasses.fields(Embedded)]


def read_prompts(paths: Sequence[pathlib.Path]) -> Iterator[dict]:
    """Reads the prompts in the metadata of image files, without any model.

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
