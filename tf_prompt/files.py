"""Atomic files, resumable tables, and output folders that keep foreign files safe.

A command refuses a folder in which it would replace files that it did not write;
`--force` replaces and names them. It recognises its own files by their content, or
by the manifest that it keeps in the folder.
"""

import contextlib
import csv
import io
import json
import os
import pathlib
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TextIO

# Prompts are stored unshortened, and one of 20,000 words exceeds csv's own limit.
_LONGEST_FIELD = 2**24
# Temporary names of `replacing`: `NAME.PID.part`, `STEM.PID.part.ENDING`.
_TEMPORARY = re.compile(r"(.+)\.\d+\.part(\.[^.]+)?")
# These, and `NAME.part`, used by `ResumableTable` and by earlier versions.
_HALF = re.compile(r"(.+?)(?:\.\d+)?\.part(\.[^.]+)?")
MANIFEST = "tf_prompt_files.json"
FORCE_HELP = "replace files in output that this command did not write, and name them"


@contextlib.contextmanager
def replacing(
    path: str | pathlib.Path, keep_ending: bool = False
) -> Iterator[pathlib.Path]:
    """Context manager for writing a file atomically, under this process's own name.

    On exit the file is renamed to `path`; after an exception it is removed.

    Args:
        path: final name; an existing file stays until the new one is complete.
        keep_ending: whether the yielded temporary name keeps the extension, by which
            some libraries choose a format.
    """
    path = pathlib.Path(path)
    if keep_ending:
        name = f"{path.stem}.{os.getpid()}.part{path.suffix}"
    else:
        # A partial file of a killed process must not look like a complete one.
        name = f"{path.name}.{os.getpid()}.part"
    temporary = path.with_name(name)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def half_files(folder: str | pathlib.Path) -> list[pathlib.Path]:
    """Lists partial files in a folder, of killed processes or of running ones."""
    paths = pathlib.Path(folder).glob("*.part*")
    return [path for path in paths if _TEMPORARY.fullmatch(path.name)]


def remove_half_files(
    folder: str | pathlib.Path, names: Collection[str] | None = None
) -> None:
    """Removes partial files left by killed processes.

    No other process may be writing into the folder.

    Args:
        folder: the folder.
        names: final names of the files to consider; None removes all partial files,
            for folders that only tf_prompt writes to.
    """
    if names is None:
        found = half_files(folder)
    else:
        paths = pathlib.Path(folder).iterdir()
        found = [path for path in paths if is_half_file(path.name, names)]
    for path in found:
        path.unlink(missing_ok=True)


def write_whole(path: str | pathlib.Path, content: bytes) -> None:
    """Writes a file atomically: afterwards it is complete, or as it was before."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | pathlib.Path, content) -> None:
    """Writes a JSON file atomically, as `write_whole` does."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, text.encode())


def read_json(path: str | pathlib.Path):
    """Reads a JSON file.

    Raises:
        ValueError: if the file is not valid JSON; the message names it.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    # RecursionError: brackets nested thousands deep.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a JSON file must be whole. Received: {path}") from error


def read_entries(path: str | pathlib.Path, key: str) -> dict:
    """Reads the object under one key of a JSON file.

    Raises:
        ValueError: if the file is not valid JSON or has no such object; the message
            names it.
    """
    content = read_json(path)
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(f"a JSON file must hold an object {key}. Received: {path}")
    return entries


@contextlib.contextmanager
def open_csv(path: str | pathlib.Path) -> Iterator[TextIO]:
    """Context manager that opens a CSV file for the `csv` module.

    Raises:
        ValueError: if the file turns out not to be UTF-8 or CSV; the message names it.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(
            f"a CSV file must be UTF-8 text. Received: {path} ({error})"
        ) from error
    except csv.Error as error:
        raise ValueError(
            f"a CSV file must have quotation marks in pairs. Received: {path} ({error})"
        ) from error


class ResumableTable:
    """A CSV or JSON Lines file that a command resumes after an interruption.

    A context manager. Rows are appended to `NAME.part`, which is renamed to `NAME` at
    the end. After an exception or a kill it stays, unless it is empty, and the same
    command continues after its rows. Rows with an `error`, and all from the first
    damaged one on, are written again; another identity starts afresh.

    Args:
        path: file to write.
        identity: JSON content with everything that the rows depend on.
        columns: keys that a row, a dict, may have; in a CSV, the order of columns.
        as_json: whether to write JSON Lines instead of CSV.
        parse: as in `read_rows`.
        key: column that identifies a row: one that is present is not added again.
            None for rows identified by their order.
        identity_path: file that keeps the identity, so that a finished table counts
            as done. None keeps it in `NAME.part.json` until the table is finished.

    Attributes:
        num_done: number of rows already present.
        done: set of their values in the column `key`.

    Raises:
        ValueError: if the path is a folder, or its parent folder does not exist.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        identity: dict,
        columns: Sequence[str],
        *,
        as_json: bool = False,
        parse: Callable[[dict], dict] = dict,
        key: str | None = None,
        identity_path: pathlib.Path | None = None,
    ):
        self._path = pathlib.Path(path)
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise ValueError(
                f"a file of results must be in a folder that exists. Received: {path}"
            )
        self._columns, self._as_json, self._key = columns, as_json, key
        self._part = self._path.with_name(f"{self._path.name}.part")
        beside = self._part.with_name(f"{self._part.name}.json")
        self._identity = identity_path or beside
        self._is_kept = identity_path is not None
        rows = self._find_rows(parse) if self._has(identity) else []
        self.num_done = self._num_rows = len(rows)
        self.done = {row[key] for row in rows} if key else set()
        # Rows of another identity must be gone before the new identity is written.
        self._begin(rows)
        write_json(self._identity, identity)
        self._file = open(self._part, "a", newline="", encoding="utf-8")

    def add(self, rows: Iterable[dict]) -> None:
        """Appends rows, dicts with some of `columns` as keys, and flushes the file."""
        new = [row for row in rows if not self._key or row[self._key] not in self.done]
        self._write(self._file, new)
        self._file.flush()
        self._num_rows += len(new)

    def __enter__(self) -> "ResumableTable":
        return self

    def __exit__(self, error, *details) -> None:
        self._file.close()
        if error is None:
            os.replace(self._part, self._path)
            if not self._is_kept:
                self._identity.unlink()
        elif not self._num_rows:
            # The identity first: without it no rows, of a finished file either, count.
            self._identity.unlink(missing_ok=True)
            self._part.unlink(missing_ok=True)

    def _has(self, identity) -> bool:
        try:
            return read_json(self._identity) == identity
        except (OSError, ValueError):
            return False

    def _find_rows(self, parse) -> list[dict]:
        if self._is_kept and self._path.is_file() and not self._part.is_file():
            os.replace(self._path, self._part)
        rows = read_rows(self._part, parse, self._columns, self._as_json)
        return [row for row in rows if not row.get("error")]

    def _begin(self, rows) -> None:
        with (
            replacing(self._part) as temporary,
            # JSON of a damaged file may hold lone surrogates, which UTF-8 cannot.
            open(
                temporary, "w", newline="", encoding="utf-8", errors="replace"
            ) as file,
        ):
            if not self._as_json:
                csv.DictWriter(file, self._columns).writeheader()
            self._write(file, rows)

    def _write(self, file, rows) -> None:
        if self._as_json:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.writelines(lines)
        else:
            csv.DictWriter(file, self._columns).writerows(rows)


def read_rows(
    path: pathlib.Path,
    parse: Callable[[dict], dict] = dict,
    columns: Sequence[str] | None = None,
    as_json: bool = False,
) -> list[dict]:
    """Reads the rows of a `ResumableTable` up to the first damaged one.

    Args:
        path: the table or its `.part` file; an absent file has no rows.
        parse: function from a row as stored, in a CSV all strings, to the row as it
            was added. It raises KeyError, TypeError or ValueError for a damaged row.
        columns: columns that a CSV must have; None accepts any.
        as_json: whether the file is JSON Lines.
    """
    if not path.is_file():
        return []
    content, rows = path.read_bytes(), []
    try:
        # Not read_text, which would change line breaks inside names.
        text = content.decode()
    except UnicodeDecodeError as error:
        text = content[: error.start].decode()
    # The last line of a killed run may be incomplete.
    text = text[: text.rfind("\n") + 1]
    try:
        for row in _parse_json(text) if as_json else _parse_csv(text, columns):
            rows.append(parse(row))
    except (csv.Error, KeyError, RecursionError, TypeError, ValueError):
        # Damaged from here on: these rows are written again.
        pass
    return rows


def _parse_json(text) -> Iterator[dict]:
    # Not splitlines: U+2028 and the like may occur inside a name.
    for line in text.split("\n")[:-1]:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"a row must be an object. Received: {line}")
        yield row


def _parse_csv(text, columns) -> Iterator[dict]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if columns is not None and reader.fieldnames != list(columns):
        return
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"a row must have a value per column. Received: {row}")
        yield row


def find_present(folder: str | pathlib.Path, names: Iterable[str]) -> list[str]:
    """Returns those of the names that exist in a folder, sorted."""
    paths = {name: pathlib.Path(folder) / name for name in names}
    return sorted(n for n, path in paths.items() if path.exists() or path.is_symlink())


def take_over(
    folder: str | pathlib.Path, command: str, foreign: Collection[str], force: bool
) -> None:
    """Checks that a command may replace files that it did not write.

    Args:
        folder: the folder.
        command: the command's name in messages.
        foreign: names of the files; without any nothing is checked.
        force: whether the user allowed it; the names are then printed to stderr.

    Raises:
        ValueError: if there are such files and `force` is False.
    """
    if foreign and not force:
        raise ValueError(
            f"output must not hold foreign files that {command} would replace. "
            f"Received: {folder} with {name_some(foreign)}; --force replaces them"
        )
    if foreign:
        print(
            f"{command}: --force replaces {name_some(foreign, 10)} in {folder}",
            file=sys.stderr,
        )


def name_some(names: Collection[str], num_named: int = 3) -> str:
    """Joins the first names in alphabetical order, and the number of the others."""
    first = ", ".join(sorted(names)[:num_named])
    more = len(names) - num_named
    return f"{first} and {more} more" if more > 0 else first


def belongs(name: str, names: Collection[str]) -> bool:
    """Whether a file is one of those named, or a partial file of one."""
    return name in names or is_half_file(name, names)


def is_half_file(name: str, names: Collection[str]) -> bool:
    """Whether a file is a partial file, of a killed process, of one of those named."""
    match = _HALF.fullmatch(name)
    return match is not None and match[1] + (match[2] or "") in names


def read_manifest(folder: str | pathlib.Path) -> dict[str, dict]:
    """Reads the manifest of a folder.

    Returns:
        dict from the name of a command to a dict of `files`, the names of all files
        that it wrote or was about to write, and its other facts. Empty if there is no
        manifest.

    Raises:
        ValueError: if the manifest was not written by `note_files`.
    """
    path = pathlib.Path(folder) / MANIFEST
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(map(_is_entry, content.values())):
        raise ValueError(
            "a manifest must be a list of files that tf_prompt wrote; move another "
            f"file away. Received: {path}"
        )
    return content


def note_files(
    folder: str | pathlib.Path, command: str, files: Iterable[str], **facts
) -> None:
    """Notes in the manifest which files a command is about to write.

    Args:
        folder: an existing folder.
        command: the name of the command; entries of other commands stay.
        files: names of the files.
        **facts: JSON content to keep beside them.
    """
    entry = {**facts, "files": sorted(files)}
    write_json(
        pathlib.Path(folder) / MANIFEST, {**read_manifest(folder), command: entry}
    )


def _is_entry(entry) -> bool:
    files = entry.get("files") if isinstance(entry, dict) else None
    return isinstance(files, list) and all(isinstance(name, str) for name in files)
