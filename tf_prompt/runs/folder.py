"""The run folder: what training writes and every later command reads."""

import dataclasses
import importlib
import pathlib
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

import keras

import tf_prompt
import tf_prompt.models.presets
from tf_prompt.data import folder as data_folder
from tf_prompt.data import vocabulary
from tf_prompt.files import (
    half_files,
    read_json,
    remove_half_files,
    replacing,
    write_json,
)
from tf_prompt.runs import checkpoints, lock
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.json_options import from_json

CONFIG, VOCABULARY, BEST_MODEL = "config.json", vocabulary.TOKENS, "best.keras"
# File of a tagger: one modifier per line, in the order of its outputs.
MODIFIERS = "modifiers.txt"
HISTORY, CURVES, LEARNING_RATE = "history.csv", "curves.png", "learning_rate.png"
# Folders of an interrogator: its tokenizer, and one file per table of phrases.
TOKENIZER, PHRASES = "tokenizer", "phrases"
FINGERPRINT = "data_fingerprint"
# Options that may change when the same run is resumed.
_MAY_CHANGE = ("run_dir", "epochs", "patience", "save_every", "time_budget")
# These change results only by rounding, without per-replica dropout or augmentation.
_MAY_CHANGE += ("strategy", "worker_timeout", "gpu_memory")
# Results depend on these, bit for bit; `config.json` records their versions.
_PACKAGES = ("tensorflow", "keras", "keras_hub", "numpy")
# Files that a folder without a run may hold.
_NO_RUN = {lock.LOCK, LEARNING_RATE}


def claim(run_dir: str | pathlib.Path):
    """Returns a context manager that locks a run's folder.

    Raises:
        ValueError: if the folder holds something else, is in use, or is not writable.
            Nothing in it is changed then.
    """
    _check_folder(pathlib.Path(run_dir))
    return lock.hold(run_dir)


def open_run(
    run_dir: str | pathlib.Path,
    config: FitConfig,
    data: pathlib.Path | None = None,
    has_result: bool | None = None,
    ignored: Collection[str] = (),
    unset: Mapping | None = None,
) -> pathlib.Path:
    """Creates a run folder, or opens the interrupted run in it.

    Args:
        run_dir: the folder.
        config: options of the run; written to `config.json`.
        data: folder of its shards, whose fingerprint is written too.
        has_result: whether the folder holds results that a run with other options
            must not replace; None looks for checkpoints.
        ignored: names of options that do not apply to the run.
        unset: values by name for options that a `config.json` of before them lacks.

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds something else, or a run with other options
            or data. Nothing in it is changed then.
    """
    run_dir = pathlib.Path(run_dir)
    _check_folder(run_dir)
    if has_result is None:
        has_result = bool(checkpoints.list_checkpoints(run_dir))
    if has_result:
        _check_same_run(run_dir, config, ignored, unset or {})
        if data:
            _check_same_data(run_dir, data)
    elif (run_dir / CONFIG).is_file():
        # The run ended within its first epoch: other options lose nothing.
        for name in (VOCABULARY, vocabulary.MERGES, MODIFIERS):
            (run_dir / name).unlink(missing_ok=True)
    run_dir.mkdir(parents=True, exist_ok=True)
    remove_half_files(run_dir)
    facts = {"package_version": tf_prompt.__version__, "git_commit": _git_commit()}
    facts.update(installed_versions())
    if data:
        facts[FINGERPRINT] = data_folder.fingerprint(data)
    write_json(run_dir / CONFIG, {**dataclasses.asdict(config), **facts})
    return run_dir


def compare_with(saved: dict, config: FitConfig) -> None:
    """Compares the versions and data of a saved config.json with the current ones.

    Different versions are named on stderr, since numbers may differ.

    Args:
        saved: content of a `config.json`.
        config: options of the new run.

    Raises:
        ValueError: if the data are the same by name but not by fingerprint.
        FileNotFoundError: if the data are missing.
    """
    for key, here in installed_versions().items():
        if saved.get(key, here) != here:
            name = key.removesuffix("_version")
            print(
                f"config was written with {name} {saved[key]}, installed is {here}: "
                f"numbers may differ",
                file=sys.stderr,
            )
    if FINGERPRINT in saved and config.data == saved.get("data"):
        folder = data_folder.find_data(config.data)
        data_folder.require_same(folder, saved[FINGERPRINT], "the run of config")


def installed_versions() -> dict[str, str]:
    """Returns the versions of the libraries and of Python, by key in `config.json`."""
    modules = {name: importlib.import_module(name) for name in _PACKAGES}
    versions = {f"{name}_version": m.__version__ for name, m in modules.items()}
    return {**versions, "python_version": sys.version.split()[0]}


def find_data(run_dir: str | pathlib.Path, data: str | None = None) -> pathlib.Path:
    """Finds the folder of shards that `--data` names.

    Args:
        run_dir: the run's folder.
        data: a folder, or `toy`; None takes the run's own.

    Raises:
        FileNotFoundError: if the folder holds no training shards.
        ValueError: if the run's own data have changed since training.
    """
    folder = data_folder.find_data(data or read_config(run_dir).data)
    if data is None:
        _check_same_data(run_dir, folder)
    return folder


def read_config(run_dir: str | pathlib.Path) -> FitConfig:
    """Reads the options of a run.

    Raises:
        FileNotFoundError: if there is no run in the folder.
        ValueError: if its options are damaged.
    """
    path = pathlib.Path(run_dir) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"run_dir must hold a run of tf_prompt.fit, with {CONFIG}. "
            f"Received: {run_dir}"
        )
    return from_json(FitConfig, read_json(path), path)


def copy_for_inference(model: keras.Model) -> keras.Model:
    """Builds the model that `save_for_inference` writes, in the CPU's memory.

    It has no optimizer, which would make the file three times as large, and computes in
    float32 even after mixed-precision training: not all hardware that serves it is
    fast, or accurate, in float16. The model's weights are not copied yet.
    """
    with keras.device("cpu:0"):
        return type(model).from_config({**model.get_config(), "dtype": "float32"})


def save_for_inference(
    model: keras.Model,
    path: pathlib.Path,
    averages: Sequence | None = None,
    bare: keras.Model | None = None,
) -> None:
    """Saves a model without its optimizer, atomically.

    Args:
        model: the model.
        path: the file.
        averages: values to save instead of the trainable weights, in their order.
        bare: result of `copy_for_inference`, to which the weights are copied; None
            builds one.
    """
    bare = bare or copy_for_inference(model)
    bare.set_weights(model.get_weights())
    if averages is not None:
        for variable, average in zip(bare.trainable_variables, averages, strict=True):
            variable.assign(average)
    save_model(bare, path)


def save_model(model: keras.Model, path: pathlib.Path) -> None:
    """Saves a model atomically."""
    with replacing(path, keep_ending=True) as temporary:
        model.save(temporary)


def _check_folder(run_dir: pathlib.Path) -> None:
    if run_dir.exists() and not run_dir.is_dir():
        raise ValueError(f"run_dir must be a folder. Received the file: {run_dir}")
    if checkpoints.list_checkpoints(run_dir) or _has_config(run_dir):
        return
    names = {path.name for path in run_dir.iterdir()} if run_dir.exists() else set()
    if names - _NO_RUN - {path.name for path in half_files(run_dir)}:
        raise ValueError(
            f"run_dir must be empty, new or a run's folder. Received: {run_dir}"
        )


def _has_config(run_dir: pathlib.Path) -> bool:
    """Whether there is a run's `config.json`; other programs use that name too."""
    try:
        content = read_json(run_dir / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"preset", "data"} <= content.keys()


def find_difference(
    before: FitConfig, config: FitConfig, ignored: Collection[str] = ()
) -> str | None:
    """Finds the first option that differs, among those that a run must keep.

    Args:
        before, config: the options.
        ignored: names of options that do not apply to the run.

    Returns:
        The option's name, or None.
    """
    for field in dataclasses.fields(config):
        old, new = getattr(before, field.name), getattr(config, field.name)
        if field.name not in {*_MAY_CHANGE, *ignored} and old != new:
            return field.name
    return None


def _check_same_run(run_dir: pathlib.Path, config: FitConfig, ignored, unset) -> None:
    saved = read_json(run_dir / CONFIG)
    lacking = {name: value for name, value in unset.items() if name not in saved}
    before = dataclasses.replace(read_config(run_dir), **lacking)
    name = find_difference(before, config, ignored)
    if name is not None:
        raise ValueError(
            f"{name} must stay {getattr(before, name)!r} to resume the run in "
            f"{run_dir}. Received: {getattr(config, name)!r}; for a new run give "
            f"another --run-dir"
        )


def _check_same_data(run_dir: str | pathlib.Path, data: pathlib.Path) -> None:
    expected = read_json(pathlib.Path(run_dir) / CONFIG).get(FINGERPRINT, {})
    data_folder.require_same(data, expected, f"the run in {run_dir}")


def _git_commit() -> str | None:
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def output_folder(run_dir: str | pathlib.Path, split: str) -> pathlib.Path:
    """Returns the folder of a split's evaluation: `evaluation` for the test split."""
    name = "evaluation" if split == "test" else f"evaluation_{split}"
    return pathlib.Path(run_dir) / name
