"""Reads the prompts of loose images from a CSV or a file of JSON lines."""

import csv
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import pandas as pd

from pipelines.fields import (
    FOUND,
    ColumnNames,
    find_column,
    make_table,
    pick_fields,
    to_text,
)
from tf_prompt.data import listing
from tf_prompt.files import open_csv

DELIMITERS = ",;\t"
# Characters of a header to show in an error; a binary file has an endless header.
_MAX_SHOWN = 80
# Columns of a row that `predict` writes for an image that could not be read.
_OF_FAILURE = ("path", "error")


def read_prompt_table(
    path: pathlib.Path,
    known: tuple[Sequence[str], Sequence[str]],
    is_image: Callable[[str], bool],
    columns: ColumnNames = FOUND,
) -> pd.DataFrame:
    """Reads names of images and their prompts.

    Fields are separated by commas, semicolons or tabs, whichever the header has.

    Args:
        path: the file.
        known: known titles of the columns of names and of prompts, in order of
            preference; errors mention the first of each.
        is_image: function from a name to whether that image exists.
        columns: titles that the user gave.

    Returns:
        Table of `image_name` and `prompt`, both text, and those of `fields.FIELDS`
        that the file has.

    Raises:
        ValueError: if it is not such a table, or a row cannot be separated from the
            next; the message names the line.
    """
    with open_csv(path) as file:
        reader, header, found = _read_header(file, path, known, columns)
        lines, rows = [], []
        for line, row in _read_rows(reader, path):
            if len(row) != len(header):
                raise ValueError(
                    "a CSV must have as many fields in each row as in its header; a "
                    f"prompt with {_delimiter_of(reader)} stands in quotation marks. "
                    f"Received: {path}, line {line} with {len(row)} fields, not "
                    f"{len(header)}"
                )
            lines.append(line)
            rows.append(row)
    if not rows:
        raise ValueError(f"a CSV must have rows. Received: {path}")
    pairs = [[row[header.index(name)] for name in found] for row in rows]
    _refuse_merged(path, lines, pairs, reader.dialect.delimiter, is_image)
    # The first of two columns with the same title.
    places = {title: place for place, title in reversed(list(enumerate(header)))}
    table = {title: [row[place] for row in rows] for title, place in places.items()}
    rows = pd.DataFrame(pairs, columns=["image_name", "prompt"], dtype=str)
    return join_rows(pd.DataFrame(table, dtype=str), rows, columns)


def read_json_lines(
    path: pathlib.Path,
    known: tuple[Sequence[str], Sequence[str]],
    columns: ColumnNames = FOUND,
) -> pd.DataFrame:
    """Reads names of images and their prompts from objects, one per line.

    Args:
        path, known, columns: as in `read_prompt_table`.

    Returns:
        As `read_prompt_table`.

    Raises:
        ValueError: if a line is not an object, or none has the columns; the message
            names the line.
    """
    objects = []
    # Not `splitlines`: U+2028 and the like may occur inside a prompt.
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if line.strip():
            objects.append(_parse_line(line, path, number))
    titles = list(dict.fromkeys(title for entry in objects for title in entry))
    found = _find_titles(titles, known, columns)
    if found is None:
        raise ValueError(
            f"JSON lines must hold {_ask_for(known, columns)}. Received: "
            f"{path}{_describe(','.join(titles))}"
        )
    names, prompts = ([to_text(e.get(title)) for e in objects] for title in found)
    table = make_table(objects, columns, [t for t in _OF_FAILURE if t in titles])
    rows = pd.DataFrame({"image_name": names, "prompt": prompts}, dtype=str)
    return join_rows(table, rows, columns)


def join_rows(
    table: pd.DataFrame, rows: pd.DataFrame, columns: ColumnNames
) -> pd.DataFrame:
    """Adds the known fields of a table to its rows, without rows of failures.

    `predict` writes a row with an `error` and no prompt for a broken image.

    Args:
        table: the file's own columns.
        rows: `image_name` and `prompt`, in the same order.
        columns: titles that the user gave.
    """
    rows = rows.join(pick_fields(table, columns))
    if set(_OF_FAILURE) <= set(table):
        failed = (table["error"].fillna("") != "") & (rows["prompt"] == "")
        rows = rows[~failed.to_numpy()].reset_index(drop=True)
    return rows


def _read_text(path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"JSON lines must be UTF-8 text. Received: {path} ({error})"
        ) from error


def _parse_line(line, path, number) -> dict:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise ValueError(
            f"JSON lines must be objects, one per line. Received: {path}, line {number}"
        )
    return entry


def _find_titles(titles, known, columns) -> list[str] | None:
    given = (columns.image, columns.prompt)
    found = [find_column(titles, g, k) for g, k in zip(given, known, strict=True)]
    return None if None in found else found


def _ask_for(known, columns) -> str:
    asked = f"{columns.image or known[0][0]},{columns.prompt or known[1][0]}"
    return f"the columns {asked}"


def _describe(titles: str) -> str:
    if not titles:
        return ", which is empty"
    hint = "--image-column and --prompt-column give other names"
    return f" with {titles[:_MAX_SHOWN]}; {hint}"


def _read_header(file: TextIO, path, known, columns: ColumnNames):
    shown = None
    for delimiter in DELIMITERS:
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        _, header = next(_read_rows(reader, path), (1, []))
        header = [title.strip() for title in header]
        if found := _find_titles(header, known, columns):
            return reader, header, found
        shown = shown or ",".join(header)
    raise ValueError(
        "a CSV, its fields separated by commas, semicolons or tabs, must have "
        f"{_ask_for(known, columns)}. Received: {path}{_describe(shown or '')}"
    )


def _read_rows(reader, path) -> Iterator[tuple[int, list[str]]]:
    """Yields rows with the lines in which they begin, without blank lines."""
    line = reader.line_num + 1
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            "a CSV must have quotation marks in pairs, a prompt's own ones doubled. "
            f"Received: {path}, the row that begins in line {line} ({error})"
        ) from error


def _delimiter_of(reader) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}[reader.dialect.delimiter]


def _refuse_merged(
    path,
    lines: Sequence[int],
    rows: Sequence[Sequence[str]],
    delimiter: str,
    is_image: Callable[[str], bool],
) -> None:
    """Rejects a row that an open quotation mark has joined from several."""
    listed = {name.strip() for name, _ in rows}

    def names_row(cell: str) -> bool:
        cell = cell.strip().strip('"')
        if listing.has_image_ending(pathlib.Path(cell)):
            return True
        return cell not in listed and is_image(cell)

    for line, row in zip(lines, rows, strict=True):
        for field in row:
            cells = [text.split(delimiter) for text in field.splitlines()]
            # Neither an image's name in a line of words nor a single word is a row.
            if len(cells) > 1 and any(
                len(found) > 1 and any(map(names_row, found)) for found in cells
            ):
                raise ValueError(
                    "a prompt must not hold what looks like another row, as after a "
                    "quotation mark that is left open. Received: "
                    f"{path}, the row that begins in line {line}"
                )
