"""Which files a conversion writes, and which conversion a folder already holds."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable

from pipelines.convert import fingerprint, stats_path
from pipelines.options import Conversion
from pipelines.tally import is_sound
from tf_prompt.data.records import shard_path
from tf_prompt.data.split import SPLITS
from tf_prompt.files import note_files, read_manifest

COMMAND = "write_records"
FOLDER_FILES = ("stats.json", "rejects.csv", "dataset_info.json", "features.json")
# Content by which files are recognised from a version without a manifest.
_MARKS = {
    "rejects.csv": (b"cause,count,part,image_name",),
    "dataset_info.json": (
        b"prompts that a text-to-image model made them of.",
        b"Images of a text-to-image model, with their prompts.",
    ),
    "features.json": (b'"image_id"',),
}
_MOST_PARTS = 10**6


@dataclasses.dataclass(frozen=True)
class Written:
    """A conversion, as the manifest of its folder describes it.

    Args:
        kind: name of the source's layout; None if it is unknown.
        path: the source; None if it is unknown.
        flags: fields of `Conversion`; None if they are unknown.
        files: names of all files that it wrote or was about to write.
    """

    kind: str | None
    path: str | None
    flags: dict | None
    files: Iterable[str]

    def __str__(self) -> str:
        return f"{self.kind or 'a source'} {self.path or 'of an earlier version'}"

    def is_of(self, other: "Written") -> bool:
        """Whether both are of the same source at the same path."""
        return (self.kind, self.path) == (other.kind, other.path)

    def note(self, folder: str | pathlib.Path, files: Iterable[str]) -> None:
        """Writes the manifest with other files.

        Args:
            folder: folder of the shards.
            files: names of the files.
        """
        facts = {"kind": self.kind, "path": self.path, "flags": self.flags}
        note_files(folder, COMMAND, files, **facts)


def part_files(index: int) -> list[str]:
    """Lists the names of a part's files."""
    shards = [shard_path("", split, index) for split in SPLITS]
    return [path.name for path in (stats_path("", index), *shards)]


def list_files(num_parts: int) -> set[str]:
    """Lists all files that a conversion of so many parts writes, but the manifest."""
    return {*FOLDER_FILES, *(n for i in range(num_parts) for n in part_files(i))}


def find_written(folder: pathlib.Path, num_parts: int) -> Written | None:
    """Finds the conversion that a folder holds, finished or not.

    Args:
        folder: an existing folder.
        num_parts: number of parts of the source that is to be converted.

    Returns:
        The conversion in the manifest, or without a manifest, one that is recognised
        from the files of an earlier version; None if there is neither.

    Raises:
        ValueError: if the manifest is not one of ours.
    """
    entry = read_manifest(folder).get(COMMAND)
    if entry is None:
        return _recognise(folder, num_parts)
    try:
        return Written(**entry)
    except TypeError as error:
        raise ValueError(
            f"a manifest must be that of {COMMAND}. Received: {folder}"
        ) from error


def holds_only(
    folder: pathlib.Path, written: Written, source, conversion: Conversion
) -> bool:
    """Whether all parts in a folder belong to a source, even if it has moved.

    Args:
        folder: folder of the shards.
        written: their conversion.
        source: the source.
        conversion: the flags to assume if those of the shards are unknown.
    """
    if written.kind not in (None, source.name):
        return False
    stats = _read_parts(folder)
    try:
        conversion = Conversion(**written.flags) if written.flags else conversion
    except (TypeError, ValueError):
        return False
    for part in source.parts() if stats else ():
        found = stats.pop(part.index, None)
        if found and found["fingerprint"] != fingerprint(part, conversion):
            return False
        if not stats:
            return True
    return False


def _recognise(folder, num_parts) -> Written | None:
    stats, total = _read_parts(folder), _read_total(folder)
    if not stats and total is None:
        return None
    files = {n for n, marks in _MARKS.items() if _has_mark(folder / n, marks)}
    for index in [*stats, *range(total["parts"] if total else 0)]:
        files.update(part_files(index))
    if total is not None:
        files.add("stats.json")
        return Written(total["source"], None, total["flags"], files)
    # A killed run may have left shards without stats.
    shards = (part_files(index)[1:] for index in range(num_parts))
    return Written(None, None, None, files.union(*shards))


def _read_parts(folder) -> dict[int, dict]:
    """Reads the stats of each part; DiffusionDB's `part-000001.json` has none."""
    found = {}
    for path in folder.glob("part-*.json"):
        match = re.fullmatch(r"part-(\d{5,9})\.json", path.name)
        if match and path.name == stats_path("", int(match[1])).name:
            stats = _read(path)
            try:
                if is_sound(stats) and isinstance(stats["fingerprint"], str):
                    found[int(match[1])] = stats
            except (AttributeError, KeyError, TypeError):
                continue
    return found


def _read_total(folder) -> dict | None:
    total = _read(folder / "stats.json")
    kinds = {"source": str, "parts": int, "flags": dict, "rows": int}
    if not isinstance(total, dict):
        return None
    ours = all(isinstance(total.get(key), kind) for key, kind in kinds.items())
    return total if ours and 0 < total["parts"] <= _MOST_PARTS else None


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _has_mark(path, marks) -> bool:
    try:
        content = path.read_bytes()
        return any(mark in content for mark in marks)
    except OSError:
        return False
