"""Files that are either whole or as they were."""

import json
import os
import pathlib


def write_whole(path: str | pathlib.Path, content: bytes) -> None:
    """Writes a file so that it is either whole or as it was."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_json(path: str | pathlib.Path, content) -> None:
    """Writes a JSON file so that it is either whole or as it was."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, text.encode())


def read_json(path: str | pathlib.Path):
    """Reads a JSON file.

    Raises:
        ValueError: if the file is not JSON; names it.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"a JSON file must be whole. Received: {path}") from error
