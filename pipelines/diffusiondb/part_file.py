"""A partly downloaded file, and what a later process needs to resume it."""

import os
import pathlib


class PartFile:
    """A partly downloaded file, under a temporary name that a later process finds.

    Beside it is the server's validator of that version, because bytes of two
    versions must not be mixed. It is written after the old bytes are removed and
    before new ones arrive, so that a process may be killed between any two steps.

    Args:
        path: final path of the file.
    """

    def __init__(self, path: pathlib.Path):
        self._final = path
        self.path = path.with_name(f"{path.name}.part")
        self._validator = path.with_name(f"{path.name}.part.etag")

    @property
    def size(self) -> int:
        """Number of bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str:
        """The version of these bytes; empty if it is not known."""
        if not self.size or not self._validator.exists():
            return ""
        return self._validator.read_text(encoding="latin-1")

    def start(self, validator: str) -> None:
        """Starts again without bytes, for a version of the file."""
        self.path.write_bytes(b"")
        self._validator.write_text(validator, encoding="latin-1")

    def finish(self) -> None:
        """Renames the file to its final path."""
        os.replace(self.path, self._final)
        self.discard()

    def discard(self) -> None:
        """Removes both temporary files."""
        self.path.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)
