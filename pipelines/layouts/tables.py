"""A CSV, or a file of JSON lines, that names image files and their prompts."""

import pathlib

from pipelines.fields import FILE_COLUMNS, PROMPT_COLUMNS, ColumnNames
from pipelines.layouts.loose import LooseSource, make_source
from pipelines.names import FileFinder
from pipelines.prompt_table import read_json_lines, read_prompt_table

HOLDS_CSV = "a CSV file with columns file,prompt"
HOLDS_JSONL = "a file of JSON lines with file and prompt"
_CSV_ENDINGS, _JSONL_ENDINGS = (".csv", ".tsv"), (".jsonl", ".ndjson")


def recognise_csv(path: pathlib.Path) -> bool:
    """Whether a file is a CSV, by its extension."""
    return path.is_file() and path.suffix.lower() in _CSV_ENDINGS


def recognise_jsonl(path: pathlib.Path) -> bool:
    """Whether a file holds JSON lines, by its extension."""
    return path.is_file() and path.suffix.lower() in _JSONL_ENDINGS


def open_csv(path: pathlib.Path, columns: ColumnNames) -> LooseSource:
    """Opens a CSV, such as that of `predict --csv`.

    Args:
        path: the file.
        columns: names that the user gave.

    Raises:
        ValueError: if the table cannot be read.
    """
    _require_file(path, HOLDS_CSV)
    find = _Finder(path)
    known = (FILE_COLUMNS, ("prompt",))
    rows = read_prompt_table(path, known, lambda n: find(n)[1] is not None, columns)
    return _open("csv", path, rows, find, is_curated=True)


def open_jsonl(path: pathlib.Path, columns: ColumnNames) -> LooseSource:
    """Opens a file of JSON lines, such as that of `predict --jsonl`.

    Args:
        path: the file.
        columns: names that the user gave.

    Raises:
        ValueError: if the table cannot be read.
    """
    _require_file(path, HOLDS_JSONL)
    rows = read_json_lines(path, (FILE_COLUMNS, PROMPT_COLUMNS), columns)
    return _open("jsonl", path, rows, _Finder(path), is_curated=False)


def _require_file(path: pathlib.Path, holds: str) -> None:
    if not path.is_file():
        raise ValueError(f"source must be {holds}. Received: {path}")


def _open(name, path, rows, find, is_curated) -> LooseSource:
    found = {name: find(name) for name in set(rows["image_name"])}
    places = {name: place for name, place in found.values() if place}
    rows["image_name"] = [found[name][0] for name in rows["image_name"]]
    return make_source(name, path.name, rows, places, is_curated)


class _Finder:
    """Finds the files of a table relative to its folder, else to the current one.

    `predict` writes paths as they were given to it.
    """

    def __init__(self, table: pathlib.Path):
        folders = dict.fromkeys([table.parent, pathlib.Path()])
        self._finders = {folder: FileFinder(folder) for folder in folders}

    def __call__(self, name: str) -> tuple[str, pathlib.Path | None]:
        """Returns the name as on disk, and the file, or None if there is none."""
        for folder, finder in self._finders.items():
            if found := finder.find(name):
                return found, folder / found
        return name, None
