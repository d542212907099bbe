"""Reads dataclasses of options from JSON files."""

import dataclasses
import types
import typing


def from_json(config_class, content, path):
    """Fills a dataclass of options from the content of a JSON file.

    Args:
        config_class: dataclass whose fields come from `option`.
        content: a dict; keys that are not fields are ignored.
        path: the file, for messages.

    Raises:
        ValueError: if it is not a dict, lacks a field without a default, or has a
            value of the wrong type or range.
    """
    if not isinstance(content, dict):
        raise ValueError(f"options must be a JSON object. Received: {path}")
    hints, values = typing.get_type_hints(config_class), {}
    for field in dataclasses.fields(config_class):
        # JSON has no tuples.
        value = content.get(field.name, field.default)
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hints[field.name]):
            raise ValueError(
                f"{field.name} must be of type {hints[field.name]}. "
                f"Received: {str(value)[:80]!r} in {path}"
            )
        values[field.name] = value
    return config_class(**values)


def _fits(value, hint) -> bool:
    """Whether a value of a JSON file has a field's type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, kind) for kind in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_fits(item, kind) for item in value)
    if hint is float:
        # This also excludes NaN and infinities, which Python's JSON accepts.
        return type(value) in (int, float) and -1e300 < value < 1e300
    # Not isinstance, for which True is an int.
    return type(value) is hint
