"""TF Serving's list of models, `models.config`, in protocol buffer text format."""

import pathlib
import re
from collections.abc import Mapping

from tf_prompt.files import write_whole

FILE = "models.config"
LABELS = ("stable", "canary")
# The folder's path inside the server's container.
BASE = "/models"
_HEADER = "# Kept by tf_prompt.export: comments other than this one are lost.\n"
_TOKEN = re.compile(
    r"""\#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[\w.+-]+|[{}<>:\[\],;]|\S"""
)
_LIST = "model_config_list"
# Characters that need no escape in a REST address.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_name(name: str, advice: str = "") -> None:
    """Checks that a model can be served under a name.

    Args:
        name: the name.
        advice: end of the message.

    Raises:
        ValueError: if the name has characters that are not allowed in an address.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "name must be letters from a to z, digits and _, after the first character "
            f"also . and -. Received: {name}{advice}"
        )


def read_labels(path: str | pathlib.Path, model: str) -> dict[str, int]:
    """Reads the versions behind a model's labels.

    Args:
        path: the file; if it is absent, there are no labels.
        model: the model's name.

    Returns:
        dict from label to version.

    Raises:
        ValueError: if the file does not have this format.
    """
    for field in _models_of(_read(pathlib.Path(path))):
        if _unquote(_get(field, "name")) == model:
            return _labels_of(field)
    return {}


def add_model(
    path: str | pathlib.Path, model: str, labels: Mapping[str, int]
) -> list[int]:
    """Adds a model to the list, and sets its labels.

    A server loads the labelled versions, or the newest if there are no labels. A
    version that loses its label stays loaded until the next call, because a server
    moves a label only after it has loaded the new version. Everything else in the
    file is kept.

    Args:
        path: the file, written atomically; created if absent.
        model: the model's name.
        labels: all labels of the model, with their versions.

    Returns:
        The versions that are loaded for their labels, now or before.

    Raises:
        ValueError: if the file does not have this format.
    """
    path = pathlib.Path(path)
    content = _read(path)
    models = _models_of(content)
    entry = next((f for f in models if _unquote(_get(f, "name")) == model), None)
    if entry is None:
        entry = [
            ("name", f'"{model}"'),
            ("base_path", f'"{BASE}/{model}"'),
            ("model_platform", '"tensorflow"'),
        ]
        models.append(entry)
    loaded = sorted({*_labels_of(entry).values(), *labels.values()})
    if labels:
        ours = ("version_labels", "model_version_policy")
        entry[:] = [field for field in entry if field[0] not in ours]
        versions = [("versions", str(version)) for version in loaded]
        entry.append(("model_version_policy", [("specific", versions)]))
        for label, version in sorted(labels.items()):
            pair = [("key", f'"{label}"'), ("value", str(version))]
            entry.append(("version_labels", pair))
    lines = [
        *_HEADER.splitlines(),
        *_format([(_LIST, [("config", m) for m in models])]),
    ]
    lines += _format([field for field in content if field[0] != _LIST])
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return loaded


def _models_of(content) -> list:
    lists = [value for name, value in content if name == _LIST]
    return [value for fields in lists for name, value in fields if name == "config"]


def _labels_of(model) -> dict[str, int]:
    pairs = [value for name, value in model if name == "version_labels"]
    return {_unquote(_get(p, "key")): int(_get(p, "value")) for p in pairs}


def _unquote(token):
    return token and token.strip("\"'")


def _get(fields, name):
    return next((value for key, value in fields if key == name), None)


def _read(path) -> list:
    """Parses a file into a list of pairs of a name and a text, or a list of pairs."""
    if not path.is_file():
        return []
    found = _TOKEN.findall(path.read_text(encoding="utf-8"))
    tokens = [token for token in found if not token.startswith("#")]
    try:
        fields, rest = _parse(tokens, 0, None)
    except (IndexError, ValueError) as error:
        raise ValueError(
            f"{FILE} must have TF Serving's format. Received: {path}"
        ) from error
    return fields


def _parse(tokens, place, closing):
    """Parses fields up to `closing`; returns them and the place where they end."""
    fields = []
    while place < len(tokens) and tokens[place] != closing:
        name = tokens[place]
        if not re.fullmatch(r"\w+", name):
            raise ValueError(name)
        place += 1 + (tokens[place + 1] == ":")
        if tokens[place] in "{<":
            value, place = _parse(tokens, place + 1, "}>"["{<".index(tokens[place])])
            fields.append((name, value))
        elif tokens[place] == "[":
            end = tokens.index("]", place)
            fields += [(name, t) for t in tokens[place + 1 : end] if t != ","]
            place = end + 1
        elif re.fullmatch(r"[\"'].*[\"']|[\w.+-]+", tokens[place]):
            fields.append((name, tokens[place]))
            place += 1
        else:
            raise ValueError(tokens[place])
        place += place < len(tokens) and tokens[place] in ",;"
    if closing is not None and place == len(tokens):
        raise ValueError(closing)
    return fields, place + (closing is not None)


def _format(fields, indent="") -> list[str]:
    lines = []
    for name, value in fields:
        if isinstance(value, str):
            lines.append(f"{indent}{name}: {value}")
        else:
            inside = _format(value, indent + "  ")
            lines += [f"{indent}{name} {{", *inside, f"{indent}}}"]
    return lines
