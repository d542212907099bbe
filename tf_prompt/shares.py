"""Predictions that several processes write, each its share, and one puts together."""

import pathlib
import shutil
import time
from collections.abc import Callable, Sequence

from tf_prompt.prediction_log import (
    COLUMNS,
    FILE,
    IDENTITY,
    PredictionLog,
    read_predictions,
)
from tf_prompt.whole_files import read_json
from tf_prompt.workers import Workers

# The first rows of a share come after the neighbours are read.
PATIENCE = 1800.0


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
