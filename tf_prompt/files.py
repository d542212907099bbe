"""Whole files, tables that resume, and folders where nobody's files are lost.

A command refuses a folder where it would replace somebody's files, and `--force`
names them. Which files are its own it knows from their content, or from the manifest
that it keeps in the folder.
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

# Prompts are written as they come, and one of 20,000 words passes csv's own limit.
_LONGEST_FIELD = 2**24
# What `replacing` gives: `NAME.PID.part`, `STEM.PID.part.ENDING`.
_TEMPORARY = re.compile(r"(.+)\.\d+\.part(\.[^.]+)?")
# The same, and `NAME.part`, which a `ResumableTable` has, and earlier versions had.
_HALF = re.compile(r"(.+?)(?:\.\d+)?\.part(\.[^.]+)?")
MANIFEST = "tf_prompt_files.json"
FORCE_HELP = "replace files in output that this command did not write, and name them"


@contextlib.contextmanager
def replacing(
    path: str | pathlib.Path, keep_ending: bool = False
) -> Iterator[pathlib.Path]:
    """Gives another name to write a file under, in a `with`; then it gets its own.

    The other name is this process' alone. Left by an exception, what was written
    under it is removed.

    Args:
        path: the file's own name; what has it stays until the new file is whole.
        keep_ending: whether the other name has the file's ending too, by which some
            libraries choose a format.
    """
    path = pathlib.Path(path)
    if keep_ending:
        name = f"{path.stem}.{os.getpid()}.part{path.suffix}"
    else:
        # A half file of a killed process must not look like a whole one.
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
    """Lists what processes that were killed, or still write, have in a folder."""
    paths = pathlib.Path(folder).glob("*.part*")
    return [path for path in paths if _TEMPORARY.fullmatch(path.name)]


def remove_half_files(
    folder: str | pathlib.Path, names: Collection[str] | None = None
) -> None:
    """Removes what processes that were killed had begun to write.

    No other process may write into the folder meanwhile.

    Args:
        folder: where they are.
        names: only of files of these names; None takes all of a folder that is ours.
    """
    if names is None:
        found = half_files(folder)
    else:
        paths = pathlib.Path(folder).iterdir()
        found = [path for path in paths if is_half_file(path.name, names)]
    for path in found:
        path.unlink(missing_ok=True)


def write_whole(path: str | pathlib.Path, content: bytes) -> None:
    """Writes a file so that it is either whole or as it was."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


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
    # RecursionError: brackets within brackets, some thousand deep.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a JSON file must be whole. Received: {path}") from error


def read_entries(path: str | pathlib.Path, key: str) -> dict:
    """Reads the object that stands under a key of a JSON file.

    Raises:
        ValueError: if the file is not JSON, or holds no such object; names it.
    """
    content = read_json(path)
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(f"a JSON file must hold an object {key}. Received: {path}")
    return entries


@contextlib.contextmanager
def open_csv(path: str | pathlib.Path) -> Iterator[TextIO]:
    """Opens a CSV file to be read by `csv`, in a `with`.

    Raises:
        ValueError: if it turns out not to be UTF-8 text, or no CSV; names it.
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
    """A CSV file, or one of JSON lines, that a killed command goes on with.

    Used as a context manager. Rows go into `NAME.part`, which takes its name at the
    end. Left by an exception or a kill it stays, if a row is in it, and the same
    command goes on behind its rows. Those with an `error`, and all from the first
    damaged one on, are written again; another identity begins anew.

    Args:
        path: file to write.
        identity: JSON content, all that the rows depend on.
        columns: what a row, a dict, may hold; in a CSV in this order.
        as_json: whether each row is a line of JSON; else the file is CSV.
        parse: as in `read_rows`.
        key: column that names a row: one that is there is not added again. None is
            for rows that are known by their order.
        identity_path: where the identity stays, so that of a finished table all rows
            are done. None keeps it in `NAME.part.json`, which goes at the end, and a
            finished table begins anew.

    Attributes:
        num_done: rows that are there already.
        done: what these have in the column `key`.

    Raises:
        ValueError: if the path is a folder or in none.
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
        # Rows of another identity must be gone before the new one is there.
        self._begin(rows)
        write_json(self._identity, identity)
        self._file = open(self._part, "a", newline="", encoding="utf-8")

    def add(self, rows: Iterable[dict]) -> None:
        """Writes rows to the disk, dicts of some of `columns`."""
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
            # First what says that the rows, also those of a finished file, are its.
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
            # Of a damaged file, JSON may hold what UTF-8 cannot.
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
    """Reads the rows of a `ResumableTable`, up to the first that is damaged.

    Args:
        path: the table, or its part; one that is absent has no rows.
        parse: from a row as it is in the file, in a CSV all text, to the row as it
            was added. KeyError, TypeError or ValueError says that it is damaged.
        columns: those that a CSV must have; None takes what it has.
        as_json: whether each row is a line of JSON.
    """
    if not path.is_file():
        return []
    content, rows = path.read_bytes(), []
    try:
        # Not read_text, which makes other line breaks of those in names.
        text = content.decode()
    except UnicodeDecodeError as error:
        text = content[: error.start].decode()
    # The last line of a killed run may be cut.
    text = text[: text.rfind("\n") + 1]
    try:
        for row in _parse_json(text) if as_json else _parse_csv(text, columns):
            rows.append(parse(row))
    except (csv.Error, KeyError, RecursionError, TypeError, ValueError):
        # Damaged from here on: these rows are written again.
        pass
    return rows


def _parse_json(text) -> Iterator[dict]:
    # Not splitlines: U+2028 and its like may stand inside a name.
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
            raise ValueError(f"a row must have a value a column. Received: {row}")
        yield row


def find_present(folder: str | pathlib.Path, names: Iterable[str]) -> list[str]:
    """Lists those of the names under which there is something in a folder, sorted."""
    paths = {name: pathlib.Path(folder) / name for name in names}
    return sorted(n for n, path in paths.items() if path.exists() or path.is_symlink())


def take_over(
    folder: str | pathlib.Path, command: str, foreign: Collection[str], force: bool
) -> None:
    """Asks for leave to replace files that a command did not write.

    Args:
        folder: where they are.
        command: what messages call the command.
        foreign: their names; with none there is nothing to ask.
        force: whether leave was given; the names are then told on stderr.

    Raises:
        ValueError: if it was not.
    """
    if foreign and not force:
        raise ValueError(
            f"output must not hold files of others that {command} would replace. "
            f"Received: {folder} with {name_some(foreign)}; --force replaces them"
        )
    if foreign:
        print(
            f"{command}: --force replaces {name_some(foreign, 10)} in {folder}",
            file=sys.stderr,
        )


def name_some(names: Collection[str], num_named: int = 3) -> str:
    """Writes the first names in alphabetical order, and how many more there are."""
    first = ", ".join(sorted(names)[:num_named])
    more = len(names) - num_named
    return f"{first} and {more} more" if more > 0 else first


def belongs(name: str, names: Collection[str]) -> bool:
    """Whether a file is one of those named, or a half file of one."""
    return name in names or is_half_file(name, names)


def is_half_file(name: str, names: Collection[str]) -> bool:
    """Whether a file is what a process that was killed had begun of one of these."""
    match = _HALF.fullmatch(name)
    return match is not None and match[1] + (match[2] or "") in names


def read_manifest(folder: str | pathlib.Path) -> dict[str, dict]:
    """Reads what commands noted in a folder.

    Returns:
        From the name of a command to a dict of `files`, the names of all that it
        wrote or was about to write, and of what else it noted. Empty if there is no
        manifest.

    Raises:
        ValueError: if the manifest is not one of ours.
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
    """Writes into the manifest what a command is about to write, before it does so.

    Args:
        folder: it must be there.
        command: the name of the command; what others noted stays.
        files: names of files.
        **facts: JSON content to keep beside them.
    """
    entry = {**facts, "files": sorted(files)}
    write_json(
        pathlib.Path(folder) / MANIFEST, {**read_manifest(folder), command: entry}
    )


def _is_entry(entry) -> bool:
    files = entry.get("files") if isinstance(entry, dict) else None
    return isinstance(files, list) and all(isinstance(name, str) for name in files)
