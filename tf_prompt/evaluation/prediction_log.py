"""`predictions.csv`, written batch by batch so that an evaluation can resume."""

import contextlib
import pathlib
import shutil
import time
from collections.abc import Callable, Sequence

from tf_prompt.data.records import LABELS
from tf_prompt.files import ResumableTable, read_json, read_rows
from tf_prompt.runs import lock
from tf_prompt.runs.workers import Workers

COLUMNS = (
    "image_id",
    "reference",
    "prediction",
    "score",
    "ended",
    "nearest_neighbour",
)
# Those that a model lists, separated by commas.
MODIFIERS = "modifiers"
FILE, IDENTITY = "predictions.csv", "predictions.json"
# Seconds. The first rows of a share come only after the neighbours have been read.
PATIENCE = 1800.0


def open_log(
    folder: pathlib.Path, identity: dict, columns: Sequence[str] = COLUMNS
) -> ResumableTable:
    """Opens `predictions.csv` as a `ResumableTable`, to be used in a `with`.

    Rows that are present already, also those of a finished file, are kept.

    Args:
        folder: an existing folder.
        identity: JSON-compatible dict of all that the rows depend on.
        columns: `COLUMNS`, possibly `MODIFIERS` and some of `records.LABELS`, and
            further columns of numbers.
    """
    return ResumableTable(
        folder / FILE,
        identity,
        columns,
        parse=_parse,
        identity_path=folder / IDENTITY,
    )


def read_predictions(folder: pathlib.Path) -> list[dict]:
    """Reads the rows of an evaluation with parsed numbers; none if there is no file."""
    return read_rows(folder / FILE, _parse)


def families_of(rows: Sequence[dict]) -> list[str] | None:
    """Returns the family of each row, or None if no row has one.

    A row without a family gets one of its own.
    """
    families = [row.get("family", "") for row in rows]
    if not any(families):
        return None
    return [name or f"row {number}" for number, name in enumerate(families)]


def _parse(row: dict) -> dict:
    words = (*COLUMNS, MODIFIERS, *LABELS)
    numbers = row.keys() - {*words} | {"score"}
    # Empty for models that do not decode words.
    ended = {"True": True, "False": False, "": None}[row["ended"]]
    texts = {name: row[name] for name in words if name in row}
    return {**texts, **{name: float(row[name]) for name in numbers}, "ended": ended}


def write_rows(
    output: pathlib.Path,
    identity: dict,
    num_examples: int,
    write: Callable[[ResumableTable, int, int], None],
    workers: Workers | None = None,
    columns: Sequence[str] = COLUMNS,
) -> list[dict] | None:
    """Writes the predictions of a split, in one or several processes.

    Each of several processes writes its share into a subfolder of `output`, which all
    of them must see, and resumes it after an interruption. The chief waits for the
    shares and joins them.

    Args:
        output: folder of the evaluation.
        identity: as in `open_log`.
        num_examples: size of the split.
        write: function of a log, a start and a stop that adds the rows of these
            examples to the log.
        workers: the processes; None means a single one.
        columns: as in `open_log`.

    Returns:
        All rows, or None in a process that is not the chief.

    Raises:
        ValueError: if the split is empty, or another process writes the same file.
        TimeoutError: if a share does not grow for `PATIENCE` seconds.
    """
    if not num_examples:
        raise ValueError(f"split must hold examples. Received none for {output}")
    if workers is None:
        with _hold_log(output, identity, columns, output / FILE) as log:
            write(log, log.num_done, num_examples)
        return read_predictions(output)
    share = workers.share_of(num_examples)
    folder = _folder(output, workers.index, workers.count)
    folder.mkdir(exist_ok=True)
    own_identity = _identify(identity, workers.index, workers.count)
    # The lock is beside the folder, because the chief removes the folder.
    with _hold_log(folder, own_identity, columns, folder) as log:
        write(log, share.start + log.num_done, share.stop)
    if not workers.is_chief:
        return None
    _await_shares(output, identity, workers.count)
    folders = [_folder(output, i, workers.count) for i in range(workers.count)]
    rows = [row for folder in folders for row in read_predictions(folder)]
    with _hold_log(output, identity, columns, output / FILE) as log:
        log.add(rows[log.num_done :])
    for folder in folders:
        shutil.rmtree(folder)
    return read_predictions(output)


@contextlib.contextmanager
def _hold_log(folder, identity, columns, held):
    with lock.hold_file(held), open_log(folder, identity, columns) as log:
        yield log


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
        sizes = _sizes(folder)
        if sizes != seen:
            seen, since = sizes, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            raise TimeoutError(
                f"share {index}/{count} must grow in {folder}, on a disk that all "
                f"workers see; it did not for {PATIENCE:g} s"
            )
        time.sleep(0.5)


def _sizes(folder) -> list[int]:
    sizes = []
    for path in folder.glob(f"{FILE}*"):
        # The other process may rename a file meanwhile.
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return sizes


def _is_done(folder, identity) -> bool:
    try:
        same = read_json(folder / IDENTITY) == identity
    except (OSError, ValueError):
        return False
    return same and (folder / FILE).is_file()
