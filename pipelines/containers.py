"""Where the encoded images of a part are: inside a zip, or loose files."""

import json
import pathlib
import stat
import zipfile
from collections.abc import Collection, Mapping

import pandas as pd

# A 1024 pixel PNG has 2 MB. `zipfile` never reads past the size that it is told.
MAX_MEMBER_SIZE = 64 * 2**20
# Deflate makes at most 1032 bytes of one; images hardly shrink. A small file may.
MAX_RATIO, HARMLESS_SIZE = 100, 2**20


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
            name = _path_of(member).name
            if name.endswith(".json"):
                self._json_member = member
            elif not member.is_dir() and not name.startswith("."):
                self._members[name] = member

    def __enter__(self) -> "ZipImages":
        return self

    def __exit__(self, *error) -> None:
        self._archive.close()

    @property
    def names(self) -> Collection[str]:
        """File names of the images."""
        return self._members.keys()

    def is_safe(self, name: str) -> bool:
        """Whether an image may be read: a plain file inside, of a sane size."""
        return _is_safe(self._members[name])

    def read(self, name: str) -> bytes:
        """Reads one encoded image."""
        return self._archive.read(self._members[name])

    def read_rows(self) -> pd.DataFrame:
        """Reads the archive's own JSON: `image_name`, `prompt`, `cfg`, `step`."""
        entries = {}
        if self._json_member is not None:
            if not _is_safe(self._json_member):
                raise ValueError(f"{self._json_member.filename} is not safe to read")
            entries = json.loads(self._archive.read(self._json_member))
        if not isinstance(entries, dict) or not all(
            isinstance(entry, dict) for entry in entries.values()
        ):
            raise ValueError("the JSON of a part must map names to settings")
        prompts = [str(entry.get("p") or "") for entry in entries.values()]
        return pd.DataFrame(
            {
                "image_name": list(entries),
                # JSON can hold half of a surrogate pair, which UTF-8 cannot.
                "prompt": [p.encode(errors="replace").decode() for p in prompts],
                "cfg": [entry.get("c") for entry in entries.values()],
                "step": [entry.get("st") for entry in entries.values()],
            }
        ).astype({"cfg": "float32", "step": "float32"})


def _path_of(member: zipfile.ZipInfo) -> pathlib.PurePosixPath:
    return pathlib.PurePosixPath(member.filename.replace("\\", "/"))


def _is_safe(member: zipfile.ZipInfo) -> bool:
    path = _path_of(member)
    # Archives made on Unix keep the kind of file in the upper half.
    linked = stat.S_ISLNK(member.external_attr >> 16)
    ratio = member.file_size / max(1, member.compress_size)
    small = member.file_size <= MAX_MEMBER_SIZE and (
        ratio <= MAX_RATIO or member.file_size <= HARMLESS_SIZE
    )
    return small and not linked and not path.is_absolute() and ".." not in path.parts


class FileImages:
    """Images that are loose files, behind the same face as `ZipImages`.

    Args:
        files: image name to file.
    """

    def __init__(self, files: Mapping[str, pathlib.Path]):
        self._files = files

    def __enter__(self) -> "FileImages":
        return self

    def __exit__(self, *error) -> None:
        pass

    @property
    def names(self) -> Collection[str]:
        """Names of the images."""
        return self._files.keys()

    def is_safe(self, name: str) -> bool:
        """Whether an image may be read: always, the user listed it."""
        return True

    def read(self, name: str) -> bytes:
        """Reads one encoded image."""
        return self._files[name].read_bytes()
