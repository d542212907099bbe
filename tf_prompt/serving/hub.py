"""Shares runs on the model hubs of Hugging Face and Kaggle."""

import os
import pathlib
import shutil
import tempfile

from tf_prompt.data import vocabulary
from tf_prompt.files import read_json, write_json
from tf_prompt.runs import folder as run_folder
from tf_prompt.serving import hugging_face, kaggle

# The module of each scheme parses what follows it, downloads and uploads.
HUBS = {hugging_face.SCHEME: hugging_face, kaggle.SCHEME: kaggle}
# The files of a run's folder that others need: no checkpoints, logs or caches.
FILES = (
    run_folder.CONFIG,
    run_folder.BEST_MODEL,
    run_folder.VOCABULARY,
    vocabulary.MERGES,
    run_folder.MODIFIERS,
    run_folder.HISTORY,
    f"{run_folder.TOKENIZER}/*",
    f"{run_folder.PHRASES}/*.txt",
    "evaluation/metrics.json",
)
CARD = "README.md"


def is_on_hub(place: str) -> bool:
    """Whether a place is a run on a hub."""
    return place.startswith(tuple(HUBS))


def fetch(place: str) -> pathlib.Path:
    """Downloads a run that `push` shared, or finds it in the hub's cache.

    Args:
        place: `hf://OWNER/NAME` or `kaggle://OWNER/MODEL/keras/VARIATION`, with
            `@REVISION` or `/VERSION` for another than the newest.

    Returns:
        The run's folder; nothing in it is code.

    Raises:
        ValueError: if the place has another form.
        FileNotFoundError: if the hub has no run there.
        ConnectionError: if the hub does not answer.
    """
    hub, name, revision = _read_place(place)
    found = pathlib.Path(hub.download(place, name, revision, FILES))
    if not (found / run_folder.CONFIG).is_file():
        raise FileNotFoundError(
            f"a run of tf_prompt.fit must be there, with {run_folder.CONFIG}. "
            f"Received: {place}"
        )
    return found


def push(run_dir: str | os.PathLike, place: str, private: bool = True) -> str:
    """Shares a run on a hub, with its model card.

    You are identified on Hugging Face by `hf auth login` or the environment variable
    `HF_TOKEN`, on Kaggle by `kagglehub.login()`, `KAGGLE_API_TOKEN`, or
    `KAGGLE_USERNAME` and `KAGGLE_KEY`. Paths of this machine are left out.

    Args:
        run_dir: folder of a run of `tf_prompt.fit`, preferably evaluated.
        place: as in `fetch`, without a revision; created if it does not exist.
        private: whether a new model is visible only to its owner. On Kaggle it always
            is, until it is published on the website.

    Returns:
        The place, for `tf_prompt.load`.

    Raises:
        FileNotFoundError: if there is no run, or it has no model yet.
        ValueError: if the place has another form, the run is an ensemble of others, or
            `private` is False on Kaggle.
        ConnectionError: if the hub does not accept it.
    """
    hub, name, revision = _read_place(place)
    if revision:
        raise ValueError(f"place must have no revision. Received: {place}")
    if not private and not hub.HAS_PUBLIC:
        raise ValueError(
            "private must be True for this hub; publish the model on its website. "
            f"Received: {private} with {place}"
        )
    with tempfile.TemporaryDirectory(prefix="tf_prompt-push-") as scratch:
        folder = pathlib.Path(scratch)
        collect(pathlib.Path(run_dir), folder)
        hub.upload(folder, place, name, private)
    return place


def collect(run_dir: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies the files of a run that `push` shares into an empty folder.

    Args:
        run_dir: the run's folder.
        folder: the empty folder.

    Raises:
        FileNotFoundError, ValueError: as `push`.
    """
    # Imported here, because it imports the report.
    from tf_prompt.evaluation.report import model_card

    config = run_folder.read_config(run_dir)
    if config.members:
        raise ValueError(
            "a run that is shared must not consist of others: share its members. "
            f"Received: {run_dir}, of {len(config.members)}"
        )
    if not (run_dir / run_folder.BEST_MODEL).is_file():
        raise FileNotFoundError(
            f"run_dir must hold {run_folder.BEST_MODEL}. Received: {run_dir}"
        )
    for pattern in FILES:
        for path in run_dir.glob(pattern):
            copy = folder / path.relative_to(run_dir)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    options = read_json(folder / run_folder.CONFIG)
    for name, value in options.items():
        # A path of this machine is private, and of no use elsewhere.
        if isinstance(value, str) and os.path.isabs(value):
            options[name] = os.path.basename(value)
    write_json(folder / run_folder.CONFIG, options)
    model_card.write_model_card(run_dir, folder / CARD)


def _read_place(place: str):
    """Returns the hub's module, the model's name there, and the revision or None."""
    for scheme, hub in HUBS.items():
        if place.startswith(scheme):
            found = hub.NAME.fullmatch(place.removeprefix(scheme))
            if found:
                return hub, found["name"], found["revision"]
    forms = " or ".join(hub.FORM for hub in HUBS.values())
    raise ValueError(f"place must be {forms}. Received: {place}")
