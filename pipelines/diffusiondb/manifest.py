"""The list of downloaded files: a journal, line by line, and a file at the end."""

import dataclasses
import fcntl
import json
import pathlib

from tf_prompt.files import read_entries, write_json


@dataclasses.dataclass(frozen=True)
class Entry:
    """Facts about a verified file.

    Args:
        bytes: its size.
        sha256: its SHA-256, in hexadecimal.
        url: the address that it came from.
    """

    bytes: int
    sha256: str
    url: str


class Manifest:
    """`manifest.json` of a folder, and the journal of the run that will write it.

    Without the journal, a run that was killed would leave files whose digests are
    unknown, and the next one would read them all again: DiffusionDB Large is 6.5 TB.
    The journal is also the lock of the folder; the operating system releases it when
    the process ends in any way. A context manager.

    Args:
        folder: folder of the downloads; created if needed.

    Raises:
        OSError: if the folder cannot be made or written.
        ValueError: if another process downloads into it, or `manifest.json` is not
            one of ours.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._path = folder / "manifest.json"
        self._journal_path = folder / "manifest.json.part"
        folder.mkdir(parents=True, exist_ok=True)
        self._journal = self._journal_path.open(
            "a+", encoding="utf-8", errors="replace"
        )
        try:
            self._lock()
            self._entries = self._read_manifest() | self._read_journal()
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, *error) -> None:
        self._journal.close()

    def get(self, name: str) -> Entry | None:
        """Returns the entry of a file by its path in the folder; None if unknown."""
        return self._entries.get(name)

    def add(self, name: str, entry: Entry) -> None:
        """Writes a verified file to the journal at once.

        Args:
            name: path of the file in the folder.
            entry: its facts.
        """
        if self._entries.get(name) == entry:
            return
        self._entries[name] = entry
        line = json.dumps({"name": name, **dataclasses.asdict(entry)})
        # The line break comes first, to separate this line from a partial one.
        self._journal.write(f"\n{line}")
        self._journal.flush()

    def write(self) -> None:
        """Writes `manifest.json` with the existing files, and removes the journal."""
        files = {
            name: dataclasses.asdict(entry)
            for name, entry in sorted(self._entries.items())
            if (self._folder / name).is_file()
        }
        write_json(self._path, {"files": files})
        self._journal_path.unlink()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                "output must not be in use by another download. "
                f"Received: {self._folder}"
            ) from error
        # Left by processes that were killed while they wrote the manifest.
        for path in self._folder.glob("manifest.json.*.part"):
            path.unlink()

    def _read_manifest(self) -> dict[str, Entry]:
        if not self._path.exists():
            return {}
        files = read_entries(self._path, "files")
        try:
            return {name: Entry(**entry) for name, entry in files.items()}
        except TypeError as error:
            raise ValueError(
                f"a manifest must be written by this command. Received: {self._path}"
            ) from error

    def _read_journal(self) -> dict[str, Entry]:
        self._journal.seek(0)
        entries = {}
        for line in self._journal:
            try:
                entry = json.loads(line)
                name = entry.pop("name")
                entries[name] = Entry(**entry)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue  # Partial, or the empty first line: verified again.
        return entries
