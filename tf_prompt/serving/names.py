"""The name under which a run is served: that of its folder, to tell runs apart."""

import pathlib

from tf_prompt.files import read_json, write_json
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.json_options import from_json
from tf_prompt.runs.run import Run
from tf_prompt.serving import versions
from tf_prompt.serving.model_config_file import check_name

# File in each version's assets that names the exported run.
ORIGIN = "export.json"


def name_model(run: Run, output: str | pathlib.Path, name: str | None = None) -> str:
    """Chooses the name under which a run is served.

    This is the name of its folder. A model that an earlier version of tf_prompt named
    after the preset keeps that name, if one of its versions is of this run.

    Args:
        run: the run.
        output: folder of all exported models.
        name: the user's choice; any run may become the next version of any model.

    Returns:
        The name.

    Raises:
        ValueError: if the name is not allowed, or if it is that of another run's
            model and not the user's choice.
    """
    output = pathlib.Path(output)
    if name is None:
        name = run.path.resolve().name
        if not (output / name).exists() and _has_version_of(output / run.preset, run):
            name = run.preset
        check_name(name, "; give another by --name NAME")
        model = output / name
        has_versions = model.is_dir() and versions.list_versions(model)
        if has_versions and not _has_version_of(model, run):
            raise ValueError(
                f"name must be given because {model} is a model of another run. "
                f"Received: {run.path}; --name {name} makes it the next version of "
                "that model, another NAME a separate model"
            )
    check_name(name)
    if (output / name).exists() and not (output / name).is_dir():
        raise ValueError(
            f"name must be that of a folder in output. Received: {name}, a file"
        )
    return name


def note_origin(path: pathlib.Path, run: Run) -> None:
    """Writes the name of the exported run into a SavedModel's assets."""
    write_json(path / "assets" / ORIGIN, {"run": run.path.resolve().name})


def _has_version_of(model: pathlib.Path, run: Run) -> bool:
    if not model.is_dir():
        return False
    return any(_is_of(model / str(v), run) for v in versions.list_versions(model))


def _is_of(version: pathlib.Path, run: Run) -> bool:
    """Whether a version is an export of a run, judging by options and data."""
    assets = version / "assets"
    try:
        saved = read_json(assets / run_folder.CONFIG)
        config = from_json(FitConfig, saved, assets)
        # Older versions have no such note, only the options.
        noted = assets / ORIGIN
        origin = read_json(noted) if noted.is_file() else {}
    except (OSError, ValueError):
        return False
    here = run.path.resolve().name
    if not isinstance(origin, dict) or origin.get("run", here) != here:
        return False
    data = read_json(run.path / run_folder.CONFIG).get(run_folder.FINGERPRINT)
    same_data = saved.get(run_folder.FINGERPRINT, data) == data
    return same_data and run_folder.find_difference(config, run.config) is None
