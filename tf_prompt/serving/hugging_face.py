"""Models on Hugging Face's hub."""

import re

SCHEME = "hf://"
FORM = "hf://OWNER/NAME"
NAME = re.compile(r"(?P<name>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?")
HAS_PUBLIC = True


def download(place: str, name: str, revision: str | None, files) -> str:
    """Downloads a model, unless it is in the library's cache.

    Args:
        place: the address, for messages.
        name: the model, `OWNER/NAME`.
        revision: a branch, tag or commit; None takes the newest.
        files: glob patterns of the files to download.

    Returns:
        The model's folder in the cache.

    Raises:
        FileNotFoundError: if there is no such model, or it is not visible.
        ValueError: if the name is invalid.
        ConnectionError: if the hub does not answer.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=list(files)
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"the hub must have the model, and you may see it. Received: {place}"
        ) from error
    except errors.HFValidationError as error:
        raise ValueError(f"place must be {FORM}. Received: {place}") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
        raise _away(place, error) from error


def upload(folder, place: str, name: str, private: bool) -> None:
    """Adds a commit with a folder's files to a model, which is created if needed.

    Args:
        folder: the folder.
        place: the address, for messages.
        name: the model, `OWNER/NAME`.
        private: whether a new model is visible only to its owner.

    Raises:
        ValueError: if the name is invalid.
        ConnectionError: if the hub does not accept it.
    """
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
        raise ValueError(f"place must be {FORM}. Received: {place}") from error
    except errors.HfHubHTTPError as error:
        raise _away(place, error) from error


def _away(place, error) -> ConnectionError:
    reason = " ".join(str(error).split())[:200]
    return ConnectionError(f"the hub must answer. Received: {place}: {reason}")
