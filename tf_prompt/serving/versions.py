"""Writes versions of a SavedModel, each verified before it is published."""

import json
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.serving.saved_model import SIGNATURE, SavedPromptWriter

# Absolute difference allowed between the model and its export.
_TOLERANCE = 1e-4


def export(
    servable,
    folder: pathlib.Path,
    assets: Iterable[str | pathlib.Path] = (),
    last_steps: Iterable[Callable[[pathlib.Path, SavedPromptWriter], None]] = (),
) -> pathlib.Path:
    """Writes the next version of a SavedModel for TF Serving.

    The model is written under a temporary name, reloaded and compared with the
    original. Only then it is renamed to its version number.

    Args:
        servable: the model to export, a `signatures.Servable`.
        folder: the model's folder, which holds numbered versions.
        assets: files to copy into the SavedModel's `assets`.
        last_steps: functions called with the written folder and the reloaded model
            before publication; they may add files or raise.

    Returns:
        The version's folder.

    Raises:
        ValueError: if the reloaded model's outputs differ from the original's.
    """
    last_steps = list(last_steps)
    folder.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that the last step is one rename.
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    bar = tqdm.tqdm(total=3 + len(last_steps), desc="exporting", unit="step")
    try:
        path = temporary / "model"
        _write(servable, path)
        (path / "assets").mkdir(exist_ok=True)
        for asset in assets:
            shutil.copy2(asset, path / "assets")
        bar.update()
        saved = SavedPromptWriter(path, needs_prompt=False)
        bar.update()
        _check_export(servable, saved)
        bar.update()
        for step in last_steps:
            step(path, saved)
            bar.update()
        return publish(path, folder)
    finally:
        bar.close()
        shutil.rmtree(temporary, ignore_errors=True)


def list_versions(folder: pathlib.Path) -> list[int]:
    """Lists the numbers of a model's versions, in increasing order."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def remove_old(
    folder: pathlib.Path, num_kept: int, kept: Collection[int] = ()
) -> list[int]:
    """Removes a model's old versions.

    Each is renamed first, so that a server never sees a partial one. Folders that
    `export` did not write stay, even if their name is a number.

    Args:
        folder: the model's folder.
        num_kept: int > 0, number of newest versions to keep.
        kept: versions to keep whatever their age.

    Returns:
        list of the removed versions.

    Raises:
        ValueError: if `num_kept` is not positive.
    """
    if num_kept < 1:
        raise ValueError(f"keep must be positive. Received: {num_kept}")
    old = [v for v in list_versions(folder)[:-num_kept] if v not in kept]
    old = [v for v in old if _is_export(folder / str(v))]
    for version in old:
        hidden = folder / f".removed-{version}-{uuid.uuid4().hex}"
        (folder / str(version)).rename(hidden)
        shutil.rmtree(hidden)
    return old


def _is_export(path: pathlib.Path) -> bool:
    # Exports have the options of their run among the assets.
    files = (path / "saved_model.pb", path / "assets" / "config.json")
    return all(file.is_file() for file in files)


def _write(servable, path) -> None:
    signatures = {
        name: function.get_concrete_function()
        for name, function in servable.signatures.items()
    }
    # Not Keras' ExportArchive, which writes each variable and function twice.
    module = tf.Module()
    module.used = list(
        {id(v): v for f in signatures.values() for v in f.graph.variables}.values()
    )
    tf.saved_model.save(module, path, signatures)


def publish(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Renames a written model to the next free version number of a folder.

    Args:
        path: the written model.
        folder: the model's folder, on the same disk.

    Returns:
        The version's folder.
    """
    while True:
        version = folder / str(1 + max(list_versions(folder), default=0))
        try:
            # Fails if another export has taken the number in the meantime.
            os.rename(path, version)
        except OSError:
            if not version.exists():
                raise
        else:
            return version


def _check_export(servable, saved) -> None:
    size = servable.image_size
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    encoded = [tf.io.encode_png(image).numpy() for image in noise]
    for name, function in servable.signatures.items():
        value = noise if saved.inputs[name].dtype == tf.uint8 else encoded
        expected = {k: v.numpy() for k, v in function(tf.constant(value)).items()}
        found = saved(encoded) if name == SIGNATURE else saved.run(name, value)
        if not _are_alike(expected, found):
            difference = {"expected": str(expected), "found": str(found)}
            raise ValueError(
                f"a reloaded SavedModel must give the same prompts as the model. "
                f"Received: in {name} {json.dumps(difference)}"
            )


def _are_alike(expected, found) -> bool:
    if {k: v.shape for k, v in expected.items()} != {
        k: v.shape for k, v in found.items()
    }:
        return False
    for name, value in expected.items():
        if value.dtype == object:
            same = (value == found[name]).all()
        else:
            same = np.allclose(value, found[name], atol=_TOLERANCE, equal_nan=True)
        if not same:
            return False
    return True
