"""Reads the CSV file that gives loose images their prompts."""

import csv
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import pandas as pd

from tf_prompt.data import listing
from tf_prompt.files import open_csv

DELIMITERS = ",;\t"
# Characters of a header that an error shows; that of a file of no text has no end.
_MAX_SHOWN = 80


def read_prompt_table(
    path: pathlib.Path, name_column: str, is_image: Callable[[str], bool]
) -> pd.DataFrame:
    """Reads names of images and their prompts.

    Fields are separated by commas, semicolons or tabs, whichever the header has.

    Args:
        path: the file.
        name_column: title of the column of names; that of prompts is `prompt`.
        is_image: tells whether a name is that of an image that is there.

    Returns:
        `image_name` and `prompt`, all text.

    Raises:
        ValueError: if it is no such table, or a row cannot be told from the next;
            names the line.
    """
    with open_csv(path) as file:
        reader, header = _read_header(file, path, name_column)
        columns = header.index(name_column), header.index("prompt")
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
            rows.append([row[column] for column in columns])
    if not rows:
        raise ValueError(f"a CSV must have rows. Received: {path}")
    _refuse_merged(path, lines, rows, reader.dialect.delimiter, is_image)
    return pd.DataFrame(rows, columns=["image_name", "prompt"], dtype=str)


def _read_header(file: TextIO, path, name_column: str):
    shown = None
    for delimiter in DELIMITERS:
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        _, header = next(_read_rows(reader, path), (1, []))
        header = [title.strip() for title in header]
        if {name_column, "prompt"} <= set(header):
            return reader, header
        shown = shown or ",".join(header)
    found = f" with {shown[:_MAX_SHOWN]}" if shown else ", which is empty"
    raise ValueError(
        "a CSV, its fields separated by commas, semicolons or tabs, must have the "
        f"columns {name_column},prompt. Received: {path}{found}"
    )


def _read_rows(reader, path) -> Iterator[tuple[int, list[str]]]:
    """Gives rows with the lines in which they begin; blank lines are no rows."""
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
    """Refuses rows that a quotation mark, open by mistake, has made one of several."""
    listed = {name.strip() for name, _ in rows}

    def names_row(cell: str) -> bool:
        cell = cell.strip().strip('"')
        if listing.has_image_ending(pathlib.Path(cell)):
            return True
        return cell not in listed and is_image(cell)

    for line, row in zip(lines, rows, strict=True):
        for field in row:
            cells = [text.split(delimiter) for text in field.splitlines()]
            # An image's name within a line of words is no row; nor is a lone word.
            if len(cells) > 1 and any(
                len(found) > 1 and any(map(names_row, found)) for found in cells
            ):
                raise ValueError(
                    "a prompt must not hold what looks like another row, as after a "
                    "quotation mark that is left open. Received: "
                    f"{path}, the row that begins in line {line}"
                )
