"""`predictions.csv`, written as prompts come, so that evaluation can go on."""

import csv
import io
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Sequence

from tf_prompt.files import read_json, write_json
from tf_prompt.runs.workers import Workers

COLUMNS = (
    "image_id",
    "reference",
    "prediction",
    "score",
    "ended",
    "nearest_neighbour",
)
FILE, IDENTITY = "predictions.csv", "predictions.json"
# The first rows of a share come after the neighbours are read.
PATIENCE = 1800.0


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
            ended = None if row["ended"] == "" else row["ended"] == "True"
            rows.append({**row, "ended": ended})
    except (ValueError, csv.Error):
        # Damaged from here on: these rows are written again.
        pass
    return rows


def _read_json(path: pathlib.Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_rows(
    output: pathlib.Path,
    identity: dict,
    num_examples: int,
    write: Callable[[PredictionLog, int, int], None],
    workers: Workers | None = None,
    columns: Sequence[str] = COLUMNS,
) -> list[dict] | None:
    """Writes the predictions of a split, alone or together with other processes.

    Together each goes on with its own share if it was killed, in a folder of
    `output`, which all must see; the chief waits for the shares and joins them.

    Args:
        output: folder of the evaluation.
        identity: as in `PredictionLog`.
        num_examples: of the split.
        write: adds to a log the rows of the examples from a first to a last, which
            is left out.
        workers: who takes part; None is this process alone.
        columns: as in `PredictionLog`.

    Returns:
        All rows, or None where another process has them.

    Raises:
        ValueError: if the split is empty.
        TimeoutError: if a share does not grow for `PATIENCE` seconds.
    """
    if not num_examples:
        raise ValueError(f"split must hold examples. Received none for {output}")
    if workers is None:
        with PredictionLog(output, identity, columns) as log:
            write(log, log.num_done, num_examples)
        return read_predictions(output)
    share = workers.share_of(num_examples)
    folder = _folder(output, workers.index, workers.count)
    folder.mkdir(exist_ok=True)
    with PredictionLog(
        folder, _identify(identity, workers.index, workers.count), columns
    ) as log:
        write(log, share.start + log.num_done, share.stop)
    if not workers.is_chief:
        return None
    _await_shares(output, identity, workers.count)
    folders = [_folder(output, i, workers.count) for i in range(workers.count)]
    rows = [row for folder in folders for row in read_predictions(folder)]
    with PredictionLog(output, identity, columns) as log:
        log.add(rows[log.num_done :])
    for folder in folders:
        shutil.rmtree(folder)
    return read_predictions(output)


def _folder(output, index, count) -> pathlib.Path:
    return output / f"share-{index}-of-{count}"


def _identify(identity, index, count) -> dict:
    return {**identity, "share": [index, count]}


def _await_shares(output, identity, count) -> None:
    pending, seen, since = list(range(count)), None, time.monotonic()
    while pending:
        index = pending[0]
        folder = _folder(output, index, count)
        if _is_done(folder, _identify(identity, index, count)):
            pending.pop(0)
            continue
        sizes = [path.stat().st_size for path in folder.glob(f"{FILE}*")]
        if sizes != seen:
            seen, since = sizes, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            raise TimeoutError(
                f"share {index}/{count} must grow in {folder}, on a disk that all "
                f"workers see; nothing came for {PATIENCE:g} s"
            )
        time.sleep(0.5)


def _is_done(folder, identity) -> bool:
    try:
        same = read_json(folder / IDENTITY) == identity
    except (OSError, ValueError):
        return False
    return same and (folder / FILE).is_file()
