"""Files that are either whole or as they were."""

import contextlib
import csv
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import TextIO

# Prompts are written as they come, and one of 20,000 words passes csv's own limit.
csv.field_size_limit(2**24)
# What `replacing` gives: `NAME.PID.part`, `STEM.PID.part.ENDING`.
_TEMPORARY = re.compile(r".+\.\d+\.part(\.[^.]+)?")


@contextlib.contextmanager
def replacing(
    path: str | pathlib.Path, keep_ending: bool = False
) -> Iterator[pathlib.Path]:
    """Gives another name to write a file under, in a `with`; then it gets its own.

    The other name is this process' alone. Left by an exception, what was written
    under it is removed.

    Args:
        path: the file's own name; what has it stays until the new file is whole.
        keep_ending: whether the other name has the file's ending too, by which some
            libraries choose a format.
    """
    path = pathlib.Path(path)
    if keep_ending:
        name = f"{path.stem}.{os.getpid()}.part{path.suffix}"
    else:
        # A half file of a killed process must not look like a whole one.
        name = f"{path.name}.{os.getpid()}.part"
    temporary = path.with_name(name)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def half_files(folder: str | pathlib.Path) -> list[pathlib.Path]:
    """Lists what processes that were killed, or still write, have in a folder."""
    paths = pathlib.Path(folder).glob("*.part*")
    return [path for path in paths if _TEMPORARY.fullmatch(path.name)]


def remove_half_files(folder: str | pathlib.Path) -> None:
    """Removes what processes that were killed had begun to write.

    No other process may write into the folder meanwhile.
    """
    for path in half_files(folder):
        path.unlink(missing_ok=True)


def write_whole(path: str | pathlib.Path, content: bytes) -> None:
    """Writes a file so that it is either whole or as it was."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | pathlib.Path, content) -> None:
    """Writes a JSON file so that it is either whole or as it was."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, text.encode())


def read_json(path: str | pathlib.Path):
    """Reads a JSON file.

    Raises:
        ValueError: if the file is not JSON; names it.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    # RecursionError: brackets within brackets, some thousand deep.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a JSON file must be whole. Received: {path}") from error


def read_entries(path: str | pathlib.Path, key: str) -> dict:
    """Reads the object that stands under a key of a JSON file.

    Raises:
        ValueError: if the file is not JSON, or holds no such object; names it.
    """
    content = read_json(path)
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(f"a JSON file must hold an object {key}. Received: {path}")
    return entries


@contextlib.contextmanager
def open_csv(path: str | pathlib.Path) -> Iterator[TextIO]:
    """Opens a CSV file to be read by `csv`, in a `with`.

    Raises:
        ValueError: if it turns out not to be UTF-8 text or no CSV; names it.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            yield file
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"a CSV file must be UTF-8 text. Received: {path} ({error})"
        ) from error
