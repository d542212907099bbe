"""Models on Kaggle's hub."""

import re

SCHEME = "kaggle://"
# Kaggle keeps variations of a model by framework; best.keras is Keras's.
FORM = "kaggle://OWNER/MODEL/keras/VARIATION"
_SLUG = r"[A-Za-z0-9][\w.-]*"
NAME = re.compile(
    rf"(?P<name>{_SLUG}/{_SLUG}/keras/{_SLUG})(/(?P<revision>[1-9][0-9]*))?", re.ASCII
)
# kagglehub makes every model private.
HAS_PUBLIC = False


def download(place: str, name: str, revision: str | None, _files) -> str:
    """Downloads all files of a model, unless they are in the library's cache.

    Args:
        place: the address, for messages.
        name: the model, `OWNER/MODEL/keras/VARIATION`.
        revision: number of a version; None takes the newest.

    Returns:
        The model's folder in the cache.

    Raises:
        FileNotFoundError: if there is no such model, or it is not visible.
        ConnectionError: if the hub does not answer.
    """
    import kagglehub
    import requests
    from kagglehub import exceptions

    handle = f"{name}/{revision}" if revision else name
    try:
        return kagglehub.model_download(handle)
    except (requests.RequestException, exceptions.DataCorruptionError) as error:
        # Kaggle also forbids access to models that do not exist.
        if _status_of(error) in (401, 403, 404):
            raise FileNotFoundError(
                f"the hub must have the model, and you may see it. Received: {place}"
            ) from error
        raise _away(place, error) from error


def upload(folder, place: str, name: str, _private: bool) -> None:
    """Adds a version with a folder's files to a model, which is created if needed.

    Args:
        folder: the folder.
        place: the address, for messages.
        name: the model, `OWNER/MODEL/keras/VARIATION`.

    Raises:
        ConnectionError: if the hub does not accept it.
    """
    import kagglehub
    import requests
    from kagglehub import exceptions

    try:
        kagglehub.model_upload(
            name, str(folder), version_notes="Share a run of tf_prompt"
        )
    except (requests.RequestException, exceptions.BackendError) as error:
        raise _away(place, error) from error


def _status_of(error) -> int | None:
    # Not `if response`: a response with an error status is falsy.
    response = getattr(error, "response", None)
    return None if response is None else response.status_code


def _away(place, error) -> ConnectionError:
    reason = " ".join(str(error).split())[:200]
    if _status_of(error) in (401, 403):
        reason = (
            f"{_status_of(error)}; KAGGLE_API_TOKEN, or KAGGLE_USERNAME and "
            "KAGGLE_KEY, must belong to an account that may write there"
        )
    return ConnectionError(f"the hub must answer. Received: {place}: {reason}")
