"""Loads model files without running any code from them."""

import contextlib
import io
import json
import pathlib
import zipfile
from collections.abc import Iterator

import h5py
import keras

import tf_prompt.models.presets  # noqa: F401  registers the classes that Keras loads

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {"metadata.json", _CONFIG, _WEIGHTS}
# Our largest config has 5 kB.
_MAX_CONFIG = 2**20
_OURS = "tf_prompt"
# Arguments whose names would be looked up on disk and in hubs, with the few names that
# are allowed; anything else must be a complete description.
_DESCRIBED = {"backbone": (), "clip": (), "encoder": ("conv", "resnet50")}


def load_model_file(path: str | pathlib.Path) -> keras.Model:
    """Loads a model saved by training; safe for files from elsewhere.

    The archive and its config are checked before Keras reads them. Classes other
    than ours and parts of backbones, functions, assets, compressed members and
    damage are rejected: all that remains is numbers and constructor arguments.

    Args:
        path: a `.keras` file.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: if the file is damaged or holds anything else; the message names
            it.
    """
    path = pathlib.Path(path)
    with _explaining(path):
        _check_archive(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def read_network(path: str | pathlib.Path) -> keras.Model:
    """Builds the model of a file as its config says, without reading its weights.

    Args:
        path: see `load_model_file`.

    Raises:
        ValueError: as `load_model_file`.
    """
    path = pathlib.Path(path)
    with _explaining(path), zipfile.ZipFile(path) as archive:
        content = _read_config(archive)
        content.pop("compile_config", None)
        return keras.saving.deserialize_keras_object(content, safe_mode=True)


@contextlib.contextmanager
def _explaining(path) -> Iterator[None]:
    try:
        yield
    # A bad file fails in zipfile, json, HDF5, our constructors, Keras or TensorFlow.
    except Exception as error:
        lines = str(error).strip().split("\n")
        reason = lines[0][:200] or type(error).__name__
        raise ValueError(
            f"{path.name} must be a whole model of tf_prompt. "
            f"Received: {path} ({reason})"
        ) from error


def _check_archive(path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if set(names) != _MEMBERS or len(names) != len(_MEMBERS):
            raise ValueError(f"it holds {', '.join(map(repr, names[:9]))}")
        for member in members:
            # Keras stores members uncompressed: unpacking never takes more space.
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"{member.filename} is compressed or encrypted")
        _read_config(archive)
        # In memory, as Keras reads it too: in the archive each seek backwards would
        # read from the start again. This also verifies the checksum.
        content = io.BytesIO(archive.read(_WEIGHTS))
        with h5py.File(content, "r") as weights:
            _check_weights(weights)


def _read_config(archive) -> dict:
    if archive.getinfo(_CONFIG).file_size > _MAX_CONFIG:
        raise ValueError(f"{_CONFIG} is too large")
    content = json.loads(archive.read(_CONFIG))
    _check_config(content)
    return content


def _check_config(content) -> None:
    if not isinstance(content, dict) or not _is_ours(content):
        raise ValueError(f"{_CONFIG} names no class of tf_prompt")
    arguments = content.get("config")
    for name, allowed in _DESCRIBED.items():
        value = arguments.get(name, {}) if isinstance(arguments, dict) else {}
        if not isinstance(value, dict) and value not in allowed:
            raise ValueError(f"{name} must be described. It is {value!r}")
    _check_classes(content)


def _check_classes(content) -> None:
    if isinstance(content, list):
        for item in content:
            _check_classes(item)
    if isinstance(content, dict):
        if {"class_name", "module", "registered_name"} & content.keys():
            if not (_is_ours(content) or _is_part(content)):
                name = f"{content.get('module')}.{content.get('class_name')}"
                raise ValueError(f"{_CONFIG} names {name[:80]}")
        for item in content.values():
            _check_classes(item)


def _is_ours(content) -> bool:
    registered = f"{_OURS}>{content.get('class_name')}"
    return content.get("registered_name") == registered and isinstance(
        keras.saving.get_registered_object(registered), type
    )


def _is_part(content) -> bool:
    """Whether it is a dtype policy, or part or description of a KerasHub backbone.

    Keras itself would accept any symbol of Keras and KerasHub.
    """
    module, name = content.get("module"), content.get("class_name")
    registered = content.get("registered_name")
    if not isinstance(name, str):
        return False
    is_network = name.endswith(("Backbone", "Encoder"))
    if "arguments" in content:
        return module is None and registered is None and is_network
    if registered is None:
        return module == "keras" and name.endswith("DTypePolicy")
    return registered == f"keras_hub>{name}" and is_network


def _check_weights(weights) -> None:
    """Rejects data sets whose numbers are not all in the file."""

    def check(name, item):
        if isinstance(item, h5py.Dataset):
            stored = item.id.get_storage_size()
            if item.external or item.is_virtual or stored < item.nbytes:
                raise ValueError(f"{name} holds less than its shape says")

    weights.visititems(check)
