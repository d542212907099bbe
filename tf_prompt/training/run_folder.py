"""The run folder: what training leaves and every later command reads."""

import dataclasses
import pathlib
import shutil
import subprocess

import keras
import tensorflow as tf

import tf_prompt
import tf_prompt.models.presets  # noqa: F401  registers the classes that Keras loads
from tf_prompt import text
from tf_prompt.config import FitConfig
from tf_prompt.models.captioner import Captioner
from tf_prompt.whole_files import read_json, write_json

CONFIG, VOCABULARY, BEST_MODEL = "config.json", "vocabulary.txt", "best.keras"
HISTORY, CURVES, CHECKPOINTS = "history.csv", "curves.png", "checkpoints"
# Of an interrogator: its byte pairs, and a file a table of phrases.
TOKENIZER, PHRASES = "tokenizer", "phrases"

# What the same run may change when it is started again.
_MAY_CHANGE = ("run_dir", "epochs", "patience")


def open_run(run_dir: str | pathlib.Path, config: FitConfig) -> pathlib.Path:
    """Creates a run folder, or finds the interrupted run that is there.

    Args:
        run_dir: the folder.
        config: options of the run; written to `config.json`.

    Raises:
        ValueError: if the folder holds something else, or a run with other
            options; nothing in it is changed.
    """
    run_dir = pathlib.Path(run_dir)
    if run_dir.exists() and not run_dir.is_dir():
        raise ValueError(f"run_dir must be a folder. Received the file: {run_dir}")
    if _list_checkpoints(run_dir):
        _check_same_run(run_dir, config)
    elif (run_dir / CONFIG).is_file():
        # It ended before its first epoch did: nothing is lost by other options.
        (run_dir / VOCABULARY).unlink(missing_ok=True)
    elif run_dir.exists() and any(run_dir.iterdir()):
        raise ValueError(
            f"run_dir must be empty, new or a run's folder. Received: {run_dir}"
        )
    run_dir.mkdir(parents=True, exist_ok=True)
    versions = {
        "package_version": tf_prompt.__version__,
        "git_commit": _git_commit(),
        "tensorflow_version": tf.__version__,
        "keras_version": keras.__version__,
    }
    write_json(run_dir / CONFIG, {**dataclasses.asdict(config), **versions})
    return run_dir


def read_config(run_dir: str | pathlib.Path) -> FitConfig:
    """Reads the options of a run.

    Raises:
        FileNotFoundError: if there is no run in the folder.
    """
    path = pathlib.Path(run_dir) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"run_dir must hold a run of tf_prompt.fit, with {CONFIG}. "
            f"Received: {run_dir}"
        )
    saved = read_json(path)
    names = {field.name for field in dataclasses.fields(FitConfig)}
    values = {name: value for name, value in saved.items() if name in names}
    # JSON knows no tuples.
    tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return FitConfig(**{**values, **tuples})


def load_run(run_dir: str | pathlib.Path) -> tuple[FitConfig, list[str], keras.Model]:
    """Loads options, vocabulary and best model of a captioner's run.

    Raises:
        FileNotFoundError: if a part is missing.
        ValueError: if the model's file is damaged, or is no captioner.
    """
    config, model = load_model(run_dir)
    if not isinstance(model, Captioner):
        raise ValueError(
            "run_dir must hold a captioner, a model that writes prompts. "
            f"Received: {run_dir} with preset {config.preset}"
        )
    return config, text.read_vocabulary(pathlib.Path(run_dir) / VOCABULARY), model


def load_model(run_dir: str | pathlib.Path) -> tuple[FitConfig, keras.Model]:
    """Loads options and best model of any run.

    Raises:
        FileNotFoundError: if a part is missing.
        ValueError: if the model's file is damaged.
    """
    run_dir = pathlib.Path(run_dir)
    config = read_config(run_dir)
    path = run_dir / BEST_MODEL
    if not path.is_file():
        raise FileNotFoundError(
            f"run_dir must hold {BEST_MODEL}, written after the first epoch. "
            f"Received: {run_dir}"
        )
    return config, keras.saving.load_model(path, compile=False)


def save_for_inference(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a model without its optimiser; the file is whole or as it was.

    It computes in float32 also where training mixed precisions: not every
    processor that a model is served from is quick, or exact, in float16. Where the
    optimiser averages weights, the averages are saved.
    """
    # A compiled model takes its optimiser along: three times the size.
    bare = type(model).from_config({**model.get_config(), "dtype": "float32"})
    bare.set_weights(model.get_weights())
    if model.optimizer.use_ema:
        averages = model.optimizer._model_variables_moving_average
        for variable, average in zip(bare.trainable_variables, averages, strict=True):
            variable.assign(average)
    save_model(bare, path)


def save_model(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a model; the file is whole or as it was."""
    temporary = path.with_name(f"{path.stem}.part{path.suffix}")
    model.save(temporary)
    temporary.replace(path)


def save_checkpoint(model: keras.Model, run_dir: pathlib.Path, state: dict) -> None:
    """Writes all that training needs to go on; older checkpoints go afterwards.

    Args:
        model: compiled model: weights, optimiser and seeds are kept.
        run_dir: the run's folder.
        state: JSON content; `history` holds a row an epoch done.
    """
    folder = run_dir / CHECKPOINTS
    final = folder / f"epoch-{len(state['history']):05d}"
    temporary = folder / f"{final.name}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save_weights(temporary / "state.weights.h5")
    # Keras leaves the seeds of augmentation out of the weights file.
    seeds = [seed.numpy().tolist() for seed in _seed_states(model)]
    write_json(temporary / "state.json", {**state, "seeds": seeds})
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    for path in _list_checkpoints(run_dir):
        if path != final:
            shutil.rmtree(path)


def load_checkpoint(model: keras.Model, run_dir: pathlib.Path) -> dict | None:
    """Restores the last checkpoint into a compiled model.

    Returns:
        Its `state`, or None if the run has no checkpoint.
    """
    checkpoints = _list_checkpoints(run_dir)
    if not checkpoints:
        return None
    # Without its variables an optimiser would silently skip its part of the file.
    model.optimizer.build(model.trainable_variables)
    model.load_weights(checkpoints[-1] / "state.weights.h5")
    state = read_json(checkpoints[-1] / "state.json")
    for variable, seed in zip(_seed_states(model), state["seeds"], strict=True):
        variable.assign(seed)
    return state


def _seed_states(model):
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _list_checkpoints(run_dir: pathlib.Path) -> list[pathlib.Path]:
    folder = run_dir / CHECKPOINTS
    return sorted(p for p in folder.glob("epoch-*") if p.suffix != ".part")


def _check_same_run(run_dir: pathlib.Path, config: FitConfig) -> None:
    before = read_config(run_dir)
    for field in dataclasses.fields(config):
        old, new = getattr(before, field.name), getattr(config, field.name)
        if field.name not in _MAY_CHANGE and old != new:
            raise ValueError(
                f"{field.name} must stay {old!r} to resume the run in {run_dir}. "
                f"Received: {new!r}; for a new run give another --run-dir"
            )


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
