"""Files that are whole or as they were, and folders where nobody's files are lost.

A command refuses a folder where it would replace somebody's files, and `--force`
names them. Which files are its own it knows from their content, or from the manifest
that it keeps in the folder.
"""

import contextlib
import csv
import json
import os
import pathlib
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import TextIO

# Prompts are written as they come, and one of 20,000 words passes csv's own limit.
csv.field_size_limit(2**24)

MANIFEST = "tf_prompt_files.json"
FORCE_HELP = "replace files in output that this command did not write, and name them"
# Files are written under these names first, see `write_whole`.
_TEMPORARY = re.compile(r"(.+?)(?:\.\d+)?\.part")


@contextlib.contextmanager
def replacing(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives another name to write a file under, in a `with`; then it gets its own.

    The name has the file's ending, by which some libraries choose a format.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.stem}.part{path.suffix}")
    yield temporary
    os.replace(temporary, path)


def write_whole(path: str | pathlib.Path, content: bytes) -> None:
    """Writes a file so that it is either whole or as it was."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


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


def find_present(folder: str | pathlib.Path, names: Iterable[str]) -> list[str]:
    """Lists those of the names under which there is something in a folder, sorted."""
    paths = {name: pathlib.Path(folder) / name for name in names}
    return sorted(n for n, path in paths.items() if path.exists() or path.is_symlink())


def take_over(
    folder: str | pathlib.Path, command: str, foreign: Collection[str], force: bool
) -> None:
    """Asks for leave to replace files that a command did not write.

    Args:
        folder: where they are.
        command: what messages call the command.
        foreign: their names; with none there is nothing to ask.
        force: whether leave was given; the names are then told on stderr.

    Raises:
        ValueError: if it was not.
    """
    if foreign and not force:
        raise ValueError(
            f"output must not hold files of others that {command} would replace. "
            f"Received: {folder} with {name_some(foreign)}; --force replaces them"
        )
    if foreign:
        print(
            f"{command}: --force replaces {name_some(foreign, 10)} in {folder}",
            file=sys.stderr,
        )


def name_some(names: Collection[str], num_named: int = 3) -> str:
    """Writes the first names in alphabetical order, and how many more there are."""
    first = ", ".join(sorted(names)[:num_named])
    more = len(names) - num_named
    return f"{first} and {more} more" if more > 0 else first


def belongs(name: str, names: Collection[str]) -> bool:
    """Whether a file is one of those named, or a half file of one."""
    return name in names or is_half_file(name, names)


def is_half_file(name: str, names: Collection[str]) -> bool:
    """Whether a file is what a process that was killed had begun of one of these."""
    match = _TEMPORARY.fullmatch(name)
    return match is not None and match[1] in names


def read_manifest(folder: str | pathlib.Path) -> dict[str, dict]:
    """Reads what commands noted in a folder.

    Returns:
        From the name of a command to a dict of `files`, the names of all that it
        wrote or was about to write, and of what else it noted. Empty if there is no
        manifest.

    Raises:
        ValueError: if the manifest is not one of ours.
    """
    path = pathlib.Path(folder) / MANIFEST
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(map(_is_entry, content.values())):
        raise ValueError(
            "a manifest must be a list of files that tf_prompt wrote; move another "
            f"file away. Received: {path}"
        )
    return content


def note_files(
    folder: str | pathlib.Path, command: str, files: Iterable[str], **facts
) -> None:
    """Writes into the manifest what a command is about to write, before it does so.

    Args:
        folder: it must be there.
        command: the name of the command; what others noted stays.
        files: names of files.
        **facts: JSON content to keep beside them.
    """
    entry = {**facts, "files": sorted(files)}
    write_json(
        pathlib.Path(folder) / MANIFEST, {**read_manifest(folder), command: entry}
    )


def _is_entry(entry) -> bool:
    files = entry.get("files") if isinstance(entry, dict) else None
    return isinstance(files, list) and all(isinstance(name, str) for name in files)
