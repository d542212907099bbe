"""Writes a run as a folder that the library transformers can read."""

import pathlib
import shutil
import tempfile

from tf_prompt.files import read_json, write_json
from tf_prompt.inference.loading import Loader
from tf_prompt.runs.run import Run


def write(run: Run, folder: pathlib.Path) -> pathlib.Path:
    """Writes the model of a run atomically.

    Args:
        run: the run.
        folder: folder to write; it must not exist yet.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: if a file of the run is missing.
        ValueError: if the folder exists, or transformers has no such model.
    """
    if folder.exists():
        raise ValueError(f"output must not have this folder yet. Received: {folder}")
    model = Loader().load_run(run, embeds=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))
    try:
        model.write_transformers(temporary / "model")
        _mend(temporary / "model" / "config.json")
        (temporary / "model").rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _mend(path: pathlib.Path) -> None:
    """Writes the number of image tokens where transformers looks for it."""
    config = read_json(path)
    number = config["vision_config"]["mm_tokens_per_image"]
    write_json(path, {**config, "mm_tokens_per_image": number})
