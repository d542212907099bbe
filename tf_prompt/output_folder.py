"""Folders that commands write into: what a command did not write is not its to remove.

A command refuses a folder where it would replace somebody's files, and `--force`
names them. Which files are its own it knows from their content, or from the manifest
that it keeps in the folder.
"""

import pathlib
import re
import sys
from collections.abc import Collection, Iterable

from tf_prompt.whole_files import read_json, write_json

MANIFEST = "tf_prompt_files.json"
FORCE_HELP = "replace files in output that this command did not write, and name them"
# Files are written under these names first, see `whole_files`.
_TEMPORARY = re.compile(r"(.+?)(?:\.\d+)?\.part")


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
