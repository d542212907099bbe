"""Hugging Face's imagefolder: images, with `metadata.csv` or `.jsonl` beside them."""

import pathlib
from collections.abc import Iterator

import pandas as pd

from pipelines.fields import PROMPT_COLUMNS, ColumnNames
from pipelines.layouts.loose import LooseSource, make_source
from pipelines.names import FileFinder
from pipelines.prompt_table import read_json_lines, read_prompt_table

HOLDS = "an imagefolder (metadata.csv or .jsonl with columns file_name,text)"
_TABLES = ("metadata.csv", "metadata.jsonl")
_KNOWN = (("file_name",), ("text", *PROMPT_COLUMNS))


def recognise(path: pathlib.Path) -> bool:
    """Whether a folder, or folders in it, hold such a table."""
    return next(_find_tables(path), None) is not None


def open_source(path: pathlib.Path, columns: ColumnNames) -> LooseSource:
    """Opens such a folder; each table names the files of its own folder.

    If the split column is `split`, folders such as `train` also give the split.

    Args:
        path: the folder.
        columns: names that the user gave.

    Raises:
        ValueError: if there is no table, or it cannot be read.
    """
    tables = list(_find_tables(path))
    if not tables:
        raise ValueError(f"source must be {HOLDS}. Received: {path}")
    found, files = [], {}
    for table in tables:
        rows, of_table = _read_table(path, table, columns)
        found.append(rows)
        files |= of_table
    rows = pd.concat(found, ignore_index=True)
    name = tables[0].name if len(tables) == 1 else "metadata"
    return make_source("imagefolder", name, rows, files)


def _find_tables(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields tables at the top, or else one or two folders below."""
    for pattern in ("", "*/", "*/*/"):
        found = [p for n in _TABLES for p in sorted(path.glob(pattern + n))]
        if found:
            yield from found
            return


def _read_table(path, table, columns):
    finder, below = FileFinder(table.parent), table.parent.relative_to(path)
    if table.suffix == ".csv":
        rows = read_prompt_table(
            table, _KNOWN, lambda n: finder.find(n) is not None, columns.at(below)
        )
    else:
        rows = read_json_lines(table, _KNOWN, columns.at(below))
    names = [finder.find(name) or name for name in rows["image_name"]]
    places = [(below / name).as_posix() for name in names]
    files = {place: path / place for place in places if (path / place).is_file()}
    return rows.assign(image_name=places), files
