"""A folder with what the examples of docstrings name: images, shards and runs."""

import pathlib

from tests.conftest import draw_record
from tf_prompt.runs import folder as run_folder


def fill_workplace(
    folder: pathlib.Path, run: pathlib.Path, shards: pathlib.Path
) -> pathlib.Path:
    """Links a run and shards, writes images and an untrained interrogator."""
    for colour, place in (("red", "left"), ("green", "top")):
        image = draw_record(colour, place, 0).image
        (folder / f"{colour}.jpg").write_bytes(image)
    (folder / "shards").symlink_to(shards)
    runs = folder / "runs"
    runs.mkdir()
    (runs / "transformer_tiny").symlink_to(run)
    write_interrogator(runs / "clip_interrogator_tiny", shards)
    return folder


def write_interrogator(run_dir: pathlib.Path, shards: pathlib.Path) -> None:
    """Writes the run of a CLIP that was never trained, which takes a second."""
    from tf_prompt.runs.config import FitConfig
    from tf_prompt.training import recipes
    from tf_prompt.training.tasks.contrastive import InterrogationTask

    config = FitConfig(preset="clip_interrogator_tiny", data=str(shards))
    config = recipes.complete(config)
    run_folder.open_run(run_dir, config, shards)
    task = InterrogationTask(config, run_dir, shards)
    task.build_model().save(run_dir / run_folder.BEST_MODEL)
