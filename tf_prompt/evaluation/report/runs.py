"""Reads run folders for reports."""

import csv
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from tf_prompt.evaluation.scoring import OVERLAPS, SOURCES
from tf_prompt.files import open_csv, read_json
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs import history as run_history
from tf_prompt.runs.model_file import load_model_file

_PREDICTION_COLUMNS = ("image_id", "reference", "prediction")


@dataclasses.dataclass(frozen=True)
class Run:
    """The content of a run's folder; missing parts are None or empty.

    Args:
        name: short name, unique among the runs of a report.
        folder: the run's folder, as the user wrote it.
        config: content of `config.json`: options and versions.
        history: one dict of numbers per epoch.
        metrics: content of `metrics.json` of the test split.
        overlaps, sources: content of its `by_overlap.json` and `by_source.json`; empty
            if there is none.
        predictions: rows of `predictions.csv` of the test split.
        evaluation: options of that evaluation.
        parameters: number of all parameters and of the trainable ones.
    """

    name: str
    folder: pathlib.Path
    config: dict
    history: list[dict]
    metrics: dict | None
    overlaps: dict
    sources: dict
    predictions: list[dict]
    evaluation: dict
    parameters: tuple[int, int] | None

    @property
    def best_epoch(self) -> dict | None:
        """The row of `history` of the epoch whose model was kept."""
        if not self.history or "val_loss" not in self.history[0]:
            return None
        return self.history[run_history.best_epoch(self.history)]

    @property
    def seconds(self) -> float | None:
        """Total time of all epochs in seconds; None if it was not recorded."""
        if not self.history or "seconds" not in self.history[0]:
            return None
        return sum(row["seconds"] for row in self.history)


def check_runs(run_dirs: Sequence[str], output: str) -> list[pathlib.Path]:
    """Checks run folders before any work is done.

    Args:
        run_dirs: the folders.
        output: the report's folder.

    Returns:
        The run folders as paths.

    Raises:
        FileNotFoundError: if one of them holds no run.
        ValueError: if one is given twice, or is the output.
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
    """Names each run after its folder, or by its whole path if names are equal."""
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else str(folder)
        for name, folder in zip(names, folders, strict=True)
    ]


def read_run(folder: pathlib.Path, name: str) -> Run:
    """Reads a run; parts that do not exist yet are left empty.

    Args:
        folder: the run's folder.
        name: its name in the report.

    Raises:
        ValueError: if an existing file is damaged; the message names it.
    """
    tested = run_folder.output_folder(folder, "test")
    metrics = tested / "metrics.json"
    return Run(
        name=name,
        folder=folder,
        config=_read_object(folder / run_folder.CONFIG),
        history=_read_history(folder / run_folder.HISTORY),
        metrics=_read_metrics(metrics) if metrics.is_file() else None,
        overlaps=_read_groups(tested / f"{OVERLAPS}.json"),
        sources=_read_groups(tested / f"{SOURCES}.json"),
        predictions=_read_predictions(tested / "predictions.csv"),
        evaluation=_read_identity(tested / "predictions.json"),
        parameters=_count_parameters(folder),
    )


def _read_object(path: pathlib.Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must hold a JSON object. Received: {path}")
    return content


def _read_metrics(path: pathlib.Path) -> dict:
    metrics = _read_object(path)
    sets, baselines = metrics.get("metrics"), metrics.get("baselines", {})
    health = metrics.get("health", {})
    sound = (
        type(metrics.get("examples")) is int
        and all(isinstance(part, dict) for part in (sets, baselines, health))
        and all(map(_is_set, (sets, *baselines.values())))
        # None stands for what `evaluate` could not measure.
        and all(value is None or _is_number(value) for value in health.values())
    )
    if not sound:
        raise ValueError(f"{path.name} must be written by evaluate. Received: {path}")
    return metrics


def _read_groups(path: pathlib.Path) -> dict:
    groups = _read_object(path) if path.is_file() else {}
    sound = all(
        isinstance(group, dict)
        and type(group.get("examples")) is int
        and (
            group["examples"] == 0
            or _is_set(group.get("metrics"))
            and isinstance(group.get("baselines"), dict)
            and all(map(_is_set, group["baselines"].values()))
        )
        for group in groups.values()
    )
    if not sound:
        raise ValueError(f"{path.name} must be written by evaluate. Received: {path}")
    return groups


def _is_set(scores) -> bool:
    """Whether it is a dict of scores by metric, as `metrics.score` returns it."""
    return isinstance(scores, dict) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("signature"), str)
        and "score" in entry
        and (entry["score"] is None or _is_measured(entry))
        for entry in scores.values()
    )


def _is_measured(entry: dict) -> bool:
    ends = entry.get("low", ""), entry.get("high", "")
    # One example has no interval.
    return _is_number(entry["score"]) and (
        ends == (None, None) or all(map(_is_number, ends))
    )


def _is_number(value) -> bool:
    # An int beyond this does not fit a float.
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def _read_predictions(path: pathlib.Path) -> list[dict]:
    rows = _read_table(path, _PREDICTION_COLUMNS)
    # The file of a killed evaluation may end within a row.
    return [row for row in rows if all(row[c] is not None for c in _PREDICTION_COLUMNS)]


def _read_identity(path: pathlib.Path) -> dict:
    if not path.is_file():
        return {}
    identity = _read_object(path)
    # The time of a file means nothing to the reader.
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
    with open_csv(path) as file:
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
    model = load_model_file(path)
    if hasattr(model, "count_parameters"):
        # This does not need the pretrained base.
        return model.count_parameters()
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return model.count_params(), trainable
