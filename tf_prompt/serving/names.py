"""Under which name a run is served: its folder's, so that two runs stay apart."""

import pathlib

from tf_prompt.files import read_json, write_json
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig, from_json
from tf_prompt.runs.run import Run
from tf_prompt.serving import versions
from tf_prompt.serving.model_config_file import check_name

# In each version's assets: which run it was made of.
ORIGIN = "export.json"


def name_model(run: Run, output: str | pathlib.Path, name: str | None = None) -> str:
    """Chooses the name that a run is served under.

    That is its folder's name. A model that an earlier version of tf_prompt named by
    the preset goes on, if one of its versions is of this run.

    Args:
        run: the run.
        output: folder of all exported models.
        name: what the user wants; any model may get any run as its next version.

    Raises:
        ValueError: if the name cannot be served, or the folder of this name is
            another run's model and the user did not name it.
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
                f"name must be given where {model} is a model of another run. "
                f"Received: {run.path}; --name {name} makes it that model's next "
                "version, another NAME a model of its own"
            )
    check_name(name)
    if (output / name).exists() and not (output / name).is_dir():
        raise ValueError(f"name must be a folder's in output. Received: {name}, a file")
    return name


def note_origin(path: pathlib.Path, run: Run) -> None:
    """Notes in a SavedModel's assets which run it was made of."""
    write_json(path / "assets" / ORIGIN, {"run": run.path.resolve().name})


def _has_version_of(model: pathlib.Path, run: Run) -> bool:
    if not model.is_dir():
        return False
    return any(_is_of(model / str(v), run) for v in versions.list_versions(model))


def _is_of(version: pathlib.Path, run: Run) -> bool:
    """Whether a version was made of a run, as far as options and data tell."""
    assets = version / "assets"
    try:
        saved = read_json(assets / run_folder.CONFIG)
        config = from_json(FitConfig, saved, assets)
        # Versions from before this was noted have the options alone.
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
