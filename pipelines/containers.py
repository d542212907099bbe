"""Where the encoded images of a part are: inside a zip, or loose files."""

import json
import math
import pathlib
import stat
import zipfile
from collections.abc import Callable, Collection, Mapping
from typing import IO

import pandas as pd

from tf_prompt.data import listing

# A PNG of 1024 pixels has 2 MB. `zipfile` never reads past the size in the directory.
MAX_MEMBER_SIZE = 64 * 2**20
# The JSON of a part has half a megabyte; in memory it takes twenty times as much.
MAX_JSON_SIZE = 16 * 2**20
# Deflate compresses at most 1032 to 1, and images hardly at all; small files may.
MAX_RATIO, HARMLESS_SIZE = 100, 2**20
# Other methods may allocate gigabytes before they return a byte.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ZipImages:
    """The images inside one DiffusionDB archive, read without extracting it.

    Args:
        path: the archive.

    Raises:
        zipfile.BadZipFile: if the archive is broken.
    """

    def __init__(self, path: pathlib.Path):
        self._archive = zipfile.ZipFile(path)
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._json_member = None
        for member in self._archive.infolist():
            path = _path_of(member)
            # An empty name, for which zipfile cannot tell files from folders.
            if not path.name or member.is_dir() or _is_hidden(path):
                continue
            if path.name.endswith(".json"):
                self._json_member = member
            else:
                self._members[path.name] = member

    def __enter__(self) -> "ZipImages":
        return self

    def __exit__(self, *error) -> None:
        self._archive.close()

    @property
    def names(self) -> Collection[str]:
        """File names of the images."""
        return self._members.keys()

    def is_safe(self, name: str) -> bool:
        """Whether an image may be read: a plain file inside, of a reasonable size."""
        return _is_safe(self._members[name])

    def open(self, name: str) -> IO[bytes]:
        """Opens one encoded image, so that no more of it is read than needed."""
        return self._archive.open(self._members[name])

    def read(self, name: str) -> bytes:
        """Reads one encoded image."""
        return self._archive.read(self._members[name])

    def read_rows(self) -> pd.DataFrame:
        """Reads the archive's own JSON.

        Returns:
            As `parse_part_json`; no rows if there is no JSON.

        Raises:
            ValueError: if the JSON is too large, or does not map names to settings.
        """
        if self._json_member is None:
            return parse_part_json(b"{}")
        size = self._json_member.file_size
        if not _is_safe(self._json_member) or size > MAX_JSON_SIZE:
            raise ValueError(f"{self._json_member.filename} is not safe to read")
        return parse_part_json(self._archive.read(self._json_member))


def parse_part_json(content: bytes) -> pd.DataFrame:
    """Reads the JSON of a part of DiffusionDB.

    Args:
        content: content of the file.

    Returns:
        Table with the columns `image_name`, `prompt`, `cfg` and `step`.

    Raises:
        ValueError: if it does not map names to settings.
    """
    entries = json.loads(content)
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) for entry in entries.values()
    ):
        raise ValueError("the JSON of a part must map names to settings")
    settings = entries.values()
    prompts = (_to_text(entry.get("p")) for entry in settings)
    return pd.DataFrame(
        {
            "image_name": pd.Series(map(_to_text, entries), dtype=str),
            "prompt": pd.Series(prompts, dtype=str),
            "cfg": pd.Series((_to_number(s.get("c")) for s in settings), dtype=float),
            "step": pd.Series((_to_number(s.get("st")) for s in settings), dtype=float),
        }
    )


def _to_text(value) -> str:
    # JSON can contain half of a surrogate pair, which UTF-8 cannot encode.
    return str(value or "").encode(errors="replace").decode()


def _to_number(value) -> float:
    """Converts a setting to a number; others become NaN, which no filter drops."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _path_of(member: zipfile.ZipInfo) -> pathlib.PurePosixPath:
    return pathlib.PurePosixPath(member.filename.replace("\\", "/"))


def _is_hidden(path: pathlib.PurePosixPath) -> bool:
    # A Mac stores a `__MACOSX/._NAME` for each NAME, also with the ending .json.
    return any(part == "__MACOSX" or listing.is_hidden(part) for part in path.parts)


def _is_safe(member: zipfile.ZipInfo) -> bool:
    path = _path_of(member)
    # Archives made on Unix store the kind of file in the upper half.
    linked = stat.S_ISLNK(member.external_attr >> 16)
    ratio = member.file_size / max(1, member.compress_size)
    small = member.file_size <= MAX_MEMBER_SIZE and (
        ratio <= MAX_RATIO or member.file_size <= HARMLESS_SIZE
    )
    known = member.compress_type in _COMPRESSIONS
    inside = not path.is_absolute() and ".." not in path.parts
    return small and known and inside and not linked


class FileImages:
    """Images in loose files, with the interface of `parts.Images`.

    Args:
        files: dict from image name to file.
        read_rows: function from `files` to the rows of these images; None if the rows
            come from a table.
    """

    def __init__(
        self,
        files: Mapping[str, pathlib.Path],
        read_rows: Callable[[Mapping[str, pathlib.Path]], pd.DataFrame] | None = None,
    ):
        self._files, self._read_rows = files, read_rows

    def __enter__(self) -> "FileImages":
        return self

    def __exit__(self, *error) -> None:
        pass

    @property
    def names(self) -> Collection[str]:
        """Names of the images."""
        return self._files.keys()

    def is_safe(self, name: str) -> bool:
        """Whether an image may be read: always, because the user listed it."""
        return True

    def open(self, name: str) -> IO[bytes]:
        """Opens one encoded image."""
        return self._files[name].open("rb")

    def read(self, name: str) -> bytes:
        """Reads one encoded image."""
        return self._files[name].read_bytes()

    def read_rows(self) -> pd.DataFrame:
        """Reads the rows that are stored with the images."""
        return self._read_rows(self._files)
