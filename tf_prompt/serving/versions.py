"""Writes versions of a SavedModel, each checked before it is published."""

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

# What two ways of computing the same may differ by.
_TOLERANCE = 1e-4


def export(
    servable,
    folder: pathlib.Path,
    assets: Iterable[str | pathlib.Path] = (),
    last_steps: Iterable[Callable[[pathlib.Path, SavedPromptWriter], None]] = (),
) -> pathlib.Path:
    """Writes the next version of a SavedModel that TF Serving can load.

    The model is written under a temporary name, loaded again and compared with
    what it was made of; only then it gets its number, by one rename.

    Args:
        servable: what to export, a `signatures.Servable`.
        folder: the model's folder; versions are the numbers inside.
        assets: files copied into the SavedModel's `assets`.
        last_steps: functions of the written folder and of the model loaded from it,
            called before it is published, that add to it or raise.

    Returns:
        The version's folder.

    Raises:
        ValueError: if the reloaded model does not give what the model gives.
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
    """Lists the numbers of a model's versions in order."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def remove_old(
    folder: pathlib.Path, num_kept: int, kept: Collection[int] = ()
) -> list[int]:
    """Removes a model's old versions.

    Each is renamed first: a server never sees half of one. What `export` did not
    write stays, though its name be a number.

    Args:
        folder: the model's folder.
        num_kept: int > 0, the newest versions that stay.
        kept: versions that stay whatever their age.

    Returns:
        The versions that are gone.

    Raises:
        ValueError: if none is to stay.
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
    # Each has the options of its run among its assets.
    files = (path / "saved_model.pb", path / "assets" / "config.json")
    return all(file.is_file() for file in files)


def _write(servable, path) -> None:
    signatures = {
        name: function.get_concrete_function()
        for name, function in servable.signatures.items()
    }
    # Not Keras's archive: it writes each variable twice, and each function too.
    module = tf.Module()
    module.used = list(
        {id(v): v for f in signatures.values() for v in f.graph.variables}.values()
    )
    tf.saved_model.save(module, path, signatures)


def publish(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Gives a written model the next free number in its folder, by one rename."""
    while True:
        version = folder / str(1 + max(list_versions(folder), default=0))
        try:
            # Fails where another export took the number in between.
            os.rename(path, version)
        except OSError:
            if not version.exists():
                raise
        else:
            return version


def _check_export(servable, saved) -> None:
    size = servable.image_size
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    encoded = [tf.io.encode_png(picture).numpy() for picture in noise]
    for name, function in servable.signatures.items():
        value = noise if saved.inputs[name].dtype == tf.uint8 else encoded
        expected = {k: v.numpy() for k, v in function(tf.constant(value)).items()}
        found = saved(encoded) if name == SIGNATURE else saved.run(name, value)
        if not _are_alike(expected, found):
            difference = {"expected": str(expected), "found": str(found)}
            raise ValueError(
                f"a reloaded SavedModel must give the model's prompts. "
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
