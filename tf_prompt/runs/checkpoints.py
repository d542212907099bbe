"""Checkpoints: everything needed to resume training, verified after writing."""

import hashlib
import os
import pathlib
import shutil
import sys

import h5py
import keras
import numpy as np

from tf_prompt.files import read_json, write_json

CHECKPOINTS = "checkpoints"
# The last checkpoint, and the one before it in case the last is damaged.
KEPT = 2
_WEIGHTS, _STATE, _MANIFEST = "state.weights.h5", "state.json", "checksums.json"
# Suffixes of folders that do not count: partially written, or found damaged.
_PART, _DAMAGED = ".part", ".damaged"


def save_checkpoint(model: keras.Model, run_dir: pathlib.Path, state: dict) -> None:
    """Writes a checkpoint, reads it back, and then removes older ones.

    Args:
        model: compiled model, of which weights, optimizer and seeds are saved.
        run_dir: the run's folder.
        state: JSON-compatible dict; `history` holds a row per finished epoch, and
            `step`, if given, the number of steps done in the current epoch.

    Raises:
        ValueError: if a weight is not finite, or the file cannot be read back.
        OSError: if the folder is not writable. Older checkpoints stay in both cases.
    """
    folder = run_dir / CHECKPOINTS
    final = folder / _name(state)
    temporary = folder / f"{final.name}{_PART}"
    for rest in (*folder.glob(f"*{_PART}"), *folder.glob(f"*{_DAMAGED}")):
        shutil.rmtree(rest, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        model.save_weights(temporary / _WEIGHTS)
        # Keras does not save the seeds of augmentation with the weights.
        seeds = [seed.numpy().tolist() for seed in _seed_states(model)]
        write_json(temporary / _STATE, {**state, "seeds": seeds})
        _read_back(model, temporary / _WEIGHTS)
        _write_manifest(temporary)
    except BaseException:
        # On a full disk the partial file would leave no room for others.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    _flush(folder)
    for path in list_checkpoints(run_dir)[:-KEPT]:
        shutil.rmtree(path)


def load_checkpoint(model: keras.Model, run_dir: pathlib.Path) -> dict | None:
    """Restores the last intact checkpoint into a compiled model.

    Damaged checkpoints are named on stderr and skipped.

    Args:
        model: compiled model; changed.
        run_dir: the run's folder.

    Returns:
        The checkpoint's `state`, or None if the run has no checkpoint.

    Raises:
        ValueError: if all checkpoints are damaged.
    """
    checkpoints = list_checkpoints(run_dir)
    # An optimizer without variables would silently skip its part of the file.
    model.optimizer.build(model.trainable_variables)
    for path in reversed(checkpoints):
        fault = find_fault(path)
        if fault is None:
            return _restore(model, path)
        print(
            f"checkpoint {path} is damaged ({fault}); using the one before it",
            file=sys.stderr,
        )
    if checkpoints:
        raise ValueError(
            f"checkpoints must hold an intact one. Received: {len(checkpoints)} "
            f"damaged in {run_dir / CHECKPOINTS}; for a new run give another --run-dir"
        )
    return None


def find_fault(checkpoint: pathlib.Path) -> str | None:
    """Describes what is wrong with a checkpoint; None if it is intact.

    Checkpoints of version 0.1 have no checksums and are not verified.
    """
    if not (checkpoint / _MANIFEST).is_file():
        complete = (checkpoint / _WEIGHTS).is_file() and (checkpoint / _STATE).is_file()
        return None if complete else f"{_MANIFEST} is missing"
    try:
        manifest = read_json(checkpoint / _MANIFEST)
        for name, (size, digest) in manifest.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes, not {size}"
            if _digest(path) != digest:
                return f"{name} has another checksum"
    except (ValueError, AttributeError, TypeError):
        return f"{_MANIFEST} cannot be read"
    except OSError as error:
        return f"{error.strerror or error}"
    return None


def list_checkpoints(run_dir: pathlib.Path) -> list[pathlib.Path]:
    """Lists the folders of a run's checkpoints, oldest first."""
    folder = run_dir / CHECKPOINTS
    # "epoch-00001" sorts before "epoch-00001-step-…", as it should.
    return sorted(
        p for p in folder.glob("epoch-*") if p.suffix not in (_PART, _DAMAGED)
    )


def metric_variables(model: keras.Model) -> list:
    """Returns the variables that accumulate the means over an epoch."""
    return [variable for metric in model.metrics for variable in metric.variables]


def _name(state) -> str:
    name = f"epoch-{len(state['history']):05d}"
    return f"{name}-step-{state['step']:08d}" if state.get("step") else name


def _restore(model, path):
    model.load_weights(path / _WEIGHTS)
    state = read_json(path / _STATE)
    for variable, seed in zip(_seed_states(model), state["seeds"], strict=True):
        variable.assign(seed)
    for newer in list_checkpoints(path.parent.parent):
        # A damaged checkpoint must not count as one of those kept.
        if newer > path:
            shutil.rmtree(newer.with_name(newer.name + _DAMAGED), ignore_errors=True)
            newer.rename(newer.with_name(newer.name + _DAMAGED))
    return state


def _read_back(model, path) -> None:
    """Reads all numbers of a weights file.

    Raises:
        ValueError: if some are missing or not finite.
    """
    found = 0
    strange = []

    def read(name, item):
        nonlocal found
        if isinstance(item, h5py.Dataset):
            values = item[()]
            found += values.size
            if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
                strange.append(name)

    with h5py.File(path, "r") as file:
        file.visititems(read)
    if strange:
        raise ValueError(
            f"weights must stay finite. Received: a non-finite number in {strange[0]}"
        )
    # A model with a pretrained base stores only its trained weights.
    kept = getattr(model, "kept_weights", model.weights)
    expected = sum(int(np.prod(weight.shape)) for weight in kept)
    if found < expected:
        raise ValueError(
            f"{path.name} must hold {expected} numbers or more. Received: {found}"
        )


def _write_manifest(folder) -> None:
    manifest = {}
    for name in (_WEIGHTS, _STATE):
        _flush(folder / name)
        manifest[name] = [(folder / name).stat().st_size, _digest(folder / name)]
    write_json(folder / _MANIFEST, manifest)
    _flush(folder / _MANIFEST)


def _digest(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path) -> None:
    """Waits until a file, or the entries of a folder, are written to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seed_states(model):
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]
