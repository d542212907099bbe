"""Reads from run folders what a report tells of them."""

import csv
import dataclasses
import pathlib
import zipfile
from collections.abc import Sequence

import keras
import numpy as np

from tf_prompt import evaluation
from tf_prompt.training import curves, run_folder
from tf_prompt.whole_files import read_json

_PREDICTION_COLUMNS = ("image_id", "reference", "prediction")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run's folder holds; None or empty stands for what is not there.

    Args:
        name: short, of its own among the runs of a report.
        folder: the run's folder, as the user wrote it.
        config: content of `config.json`: options and versions.
        history: a dict of numbers an epoch.
        metrics: content of `metrics.json` of the test split.
        predictions: rows of `predictions.csv` of the test split.
        evaluation: what the predictions depend on, of the test split.
        parameters: weights in all, and those that training changes.
    """

    name: str
    folder: pathlib.Path
    config: dict
    history: list[dict]
    metrics: dict | None
    predictions: list[dict]
    evaluation: dict
    parameters: tuple[int, int] | None

    @property
    def best_epoch(self) -> dict | None:
        """The row of `history` whose model was kept."""
        if not self.history or "val_loss" not in self.history[0]:
            return None
        return self.history[curves.best_epoch(self.history)]

    @property
    def seconds(self) -> float | None:
        """Time of all epochs; None if it was not taken."""
        if not self.history or "seconds" not in self.history[0]:
            return None
        return sum(row["seconds"] for row in self.history)


def check_runs(run_dirs: Sequence[str], output: str) -> list[pathlib.Path]:
    """Checks the folders before any work is done.

    Returns:
        The run folders.

    Raises:
        FileNotFoundError: if one holds no run.
        ValueError: if one is named twice, or is the output.
    """
    folders = [pathlib.Path(run_dir) for run_dir in run_dirs]
    seen = set()
    for folder in folders:
        run_folder.read_config(folder)
        if folder.resolve() in seen:
            raise ValueError(f"run_dir must name each run once. Received: {folder}")
        seen.add(folder.resolve())
    if pathlib.Path(output).resolve() in seen:
        raise ValueError(
            f"output must not be a run's folder, whose {run_folder.CURVES} it would "
            f"replace. Received: {output}"
        )
    return folders


def name_runs(folders: Sequence[pathlib.Path]) -> list[str]:
    """Names each run by its folder; by the whole path where names are the same."""
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else str(folder)
        for name, folder in zip(names, folders, strict=True)
    ]


def read_run(folder: pathlib.Path, name: str) -> Run:
    """Reads a run; what it has not written yet is left empty.

    Raises:
        ValueError: if a file that is there is damaged; names it.
    """
    tested = evaluation.output_folder(folder, "test")
    metrics = tested / "metrics.json"
    return Run(
        name=name,
        folder=folder,
        config=read_json(folder / run_folder.CONFIG),
        history=_read_history(folder / run_folder.HISTORY),
        metrics=read_json(metrics) if metrics.is_file() else None,
        predictions=_read_predictions(tested / "predictions.csv"),
        evaluation=_read_identity(tested / "predictions.json"),
        parameters=_count_parameters(folder),
    )


def _read_predictions(path: pathlib.Path) -> list[dict]:
    rows = _read_table(path, _PREDICTION_COLUMNS)
    # An evaluation that was killed may end within a row.
    return [row for row in rows if all(row[c] is not None for c in _PREDICTION_COLUMNS)]


def _read_identity(path: pathlib.Path) -> dict:
    if not path.is_file():
        return {}
    identity = read_json(path)
    # The time of a file says nothing to a reader.
    identity.pop("model_modified", None)
    return identity


def _read_history(path: pathlib.Path) -> list[dict]:
    try:
        rows = _read_table(path, ("epoch", "loss"))
        return [
            {k: int(v) if k == "epoch" else float(v) for k, v in row.items()}
            for row in rows
        ]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{run_folder.HISTORY} must be a table of numbers. Received: {path}"
        ) from error


def _read_table(path: pathlib.Path, columns: Sequence[str]) -> list[dict]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path.name} must have a column {missing[0]}. Received: {path}"
            )
        return list(reader)


def _count_parameters(folder: pathlib.Path) -> tuple[int, int] | None:
    path = folder / run_folder.BEST_MODEL
    if not path.is_file():
        return None
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{run_folder.BEST_MODEL} must be a whole model. Received: {path}: {error}"
        ) from error
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return model.count_params(), trainable
