"""`predictions.csv`, written as prompts come, so that evaluation can go on."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Iterable, Sequence

from tf_prompt.whole_files import write_json

COLUMNS = (
    "image_id",
    "reference",
    "prediction",
    "score",
    "ended",
    "nearest_neighbour",
)
FILE, IDENTITY = "predictions.csv", "predictions.json"


class PredictionLog:
    """Rows of `predictions.csv`; used as a context manager.

    Rows are added to a temporary file, which takes its name at the end. One that a
    killed run left is gone on with if it was written the same way, and so is a
    finished one: all its rows are done.

    Args:
        folder: where the file is; it must exist.
        identity: JSON content, all that the rows depend on.
        columns: `COLUMNS`, and more that are numbers.

    Attributes:
        num_done: rows that are there already, the first of the split.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        identity: dict,
        columns: Sequence[str] = COLUMNS,
    ):
        self._path = folder / FILE
        self._part = folder / f"{FILE}.part"
        same = _read_json(folder / IDENTITY) == identity
        if same and self._path.is_file() and not self._part.is_file():
            os.replace(self._path, self._part)
        rows = _read_whole_rows(self._part) if same else []
        self.num_done = len(rows)
        fresh = folder / f"{FILE}.new.part"
        with open(fresh, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        # Rows of another identity must be gone before the new one is there.
        os.replace(fresh, self._part)
        write_json(folder / IDENTITY, identity)
        self._file = open(self._part, "a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns)

    def add(self, rows: Iterable[dict]) -> None:
        """Writes rows to the disk, dicts of `COLUMNS`."""
        self._writer.writerows(rows)
        self._file.flush()

    def __enter__(self) -> "PredictionLog":
        return self

    def __exit__(self, error, *details) -> None:
        self._file.close()
        if error is None:
            os.replace(self._part, self._path)


def read_predictions(folder: pathlib.Path) -> list[dict]:
    """Reads the rows of an evaluation, numbers as numbers.

    Raises:
        FileNotFoundError: if there is none.
    """
    return _read_whole_rows(folder / FILE)


def _read_whole_rows(path: pathlib.Path) -> list[dict]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        text = file.read()
    rows = []
    # The last line of a killed run may be cut.
    whole = io.StringIO(text[: text.rfind("\n") + 1], newline="")
    reader = csv.DictReader(whole)
    numbers = {"score", *(reader.fieldnames or ())} - (set(COLUMNS) - {"score"})
    try:
        for row in reader:
            if any(row.get(column) is None for column in (*COLUMNS, *numbers)):
                break
            row.update({name: float(row[name]) for name in numbers})
            rows.append({**row, "ended": row["ended"] == "True"})
    except (ValueError, csv.Error):
        # Damaged from here on: these rows are written again.
        pass
    return rows


def _read_json(path: pathlib.Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
