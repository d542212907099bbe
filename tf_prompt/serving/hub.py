"""Shares runs on Hugging Face's model hub."""

import os
import pathlib
import shutil
import tempfile

from tf_prompt.data import vocabulary
from tf_prompt.files import read_json, write_json
from tf_prompt.runs import folder as run_folder

SCHEME = "hf://"
# What of a run's folder others need; neither checkpoints, nor logs, nor caches.
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
    return place.startswith(SCHEME)


def fetch(place: str) -> pathlib.Path:
    """Downloads a run that `push` shared, or finds it in the hub's cache.

    Args:
        place: `hf://OWNER/NAME`, with `@REVISION` for another than the newest.

    Returns:
        The run's folder; nothing of it is code.

    Raises:
        ValueError: if the place has another form.
        FileNotFoundError: if the hub has no run there.
        ConnectionError: if the hub does not answer.
    """
    found = pathlib.Path(_download(place, _name_of(place)))
    if not (found / run_folder.CONFIG).is_file():
        raise FileNotFoundError(
            f"a run of tf_prompt.fit must be there, with {run_folder.CONFIG}. "
            f"Received: {place}"
        )
    return found


def push(run_dir: str | os.PathLike, place: str, private: bool = True) -> str:
    """Shares a run on a hub, with its model card.

    `hf auth login` or the environment variable `HF_TOKEN` identifies you. Paths of
    this machine are left out.

    Args:
        run_dir: folder of a run of `tf_prompt.fit`, preferably evaluated.
        place: as in `fetch`, without a revision; made if it is not there.
        private: whether a model that is made is for its owner alone.

    Returns:
        What `tf_prompt.load` takes.

    Raises:
        FileNotFoundError: if there is no run, or it has no model yet.
        ValueError: if the place has another form, or the run consists of others.
        ConnectionError: if the hub does not take it.
    """
    name = _name_of(place)
    if "@" in name:
        raise ValueError(f"place must have no revision. Received: {place}")
    with tempfile.TemporaryDirectory(prefix="tf_prompt-push-") as scratch:
        folder = pathlib.Path(scratch)
        collect(pathlib.Path(run_dir), folder)
        _upload(folder, place, name, private)
    return place


def collect(run_dir: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies what `push` shares of a run into an empty folder.

    Raises:
        FileNotFoundError, ValueError: as `push`.
    """
    # Not above: it imports the report.
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
        # A place on this machine is nobody's business, and of no use elsewhere.
        if isinstance(value, str) and os.path.isabs(value):
            options[name] = os.path.basename(value)
    write_json(folder / run_folder.CONFIG, options)
    model_card.write_model_card(run_dir, folder / CARD)


def _name_of(place: str) -> str:
    name = place.removeprefix(SCHEME)
    parts = name.split("/")
    if not is_on_hub(place) or len(parts) != 2 or not all(parts):
        raise ValueError(f"place must be hf://OWNER/NAME. Received: {place}")
    return name


def _download(place, name) -> str:
    import huggingface_hub
    from huggingface_hub import errors

    repository, _, revision = name.partition("@")
    try:
        return huggingface_hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=list(FILES)
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"the hub must have the model, and you may see it. Received: {place}"
        ) from error
    except errors.HFValidationError as error:
        raise ValueError(f"place must be hf://OWNER/NAME. Received: {place}") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
        raise _away(place, error) from error


def _upload(folder, place, name, private) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    api = huggingface_hub.HfApi()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    try:
        api.create_repo(name, private=private, exist_ok=True)
        api.create_commit(
            name,
            [
                huggingface_hub.CommitOperationAdd(
                    path.relative_to(folder).as_posix(), path
                )
                for path in files
            ],
            commit_message="Share a run of tf_prompt",
        )
    except errors.HFValidationError as error:
        raise ValueError(f"place must be hf://OWNER/NAME. Received: {place}") from error
    except errors.HfHubHTTPError as error:
        raise _away(place, error) from error


def _away(place, error) -> ConnectionError:
    reason = " ".join(str(error).split())[:200]
    return ConnectionError(f"the hub must answer. Received: {place}: {reason}")
