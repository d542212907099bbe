"""DiffusionDB 2M and Large: zips as published, or unzipped into folders."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator, Mapping

from pipelines.containers import (
    MAX_JSON_SIZE,
    FileImages,
    ZipImages,
    parse_part_json,
)
from pipelines.diffusiondb.metadata import read_metadata
from pipelines.fields import FOUND, ColumnNames
from pipelines.parts import Part
from tf_prompt.data import listing

# Number of parts whose rows are in memory at a time: 200,000 rows.
PARTS_PLANNED = 200
HOLDS = (
    "DiffusionDB 2M (images/part-*.zip or part-*.zip, metadata.parquet), "
    "DiffusionDB Large (diffusiondb-large-part-*/part-*.zip, metadata-large.parquet), "
    "its zips unpacked or not"
)
_PART_ID = re.compile(r"part-(\d+)(\.zip)?")
_PATTERNS_2M = ("images/part-*", "part-*")
_PATTERNS_LARGE = ("diffusiondb-large-part-*/part-*",)


@dataclasses.dataclass(frozen=True)
class DiffusionDBSource:
    """Parts of DiffusionDB, and their metadata if it is there.

    Args:
        name: `diffusiondb_2m` or `diffusiondb_large`.
        root: the source folder.
        archives: dict from part number to the zip, or the folder that it was unpacked
            into.
        metadata: the parquet file, or None.
    """

    name: str
    root: pathlib.Path
    archives: Mapping[int, pathlib.Path]
    metadata: pathlib.Path | None
    is_curated: bool = True

    def __len__(self) -> int:
        return len(self.archives)

    @property
    def notes(self) -> list[str]:
        """Notes for the user before the work begins."""
        if self.metadata is not None:
            return []
        return [
            f"no metadata parquet in {self.root}: prompts, cfg and step come from each "
            "part's JSON, --square looks at the images, --drop-blurred is off"
        ]

    def parts(self) -> Iterator[Part]:
        """Yields the parts in order of number, with their rows of the metadata."""
        part_ids = sorted(self.archives)
        for start in range(0, len(part_ids), PARTS_PLANNED):
            planned = part_ids[start : start + PARTS_PLANNED]
            rows_of = self._read_rows(planned)
            for index, part_id in enumerate(planned, start):
                archive = self.archives[part_id]
                yield Part(
                    index=index,
                    name=archive.relative_to(self.root).as_posix(),
                    size=_size_of(archive),
                    rows=rows_of(part_id),
                    opener=functools.partial(_open_part, archive),
                    measures=self.metadata is None,
                )

    def _read_rows(self, part_ids):
        if self.metadata is None:
            return lambda part_id: None
        rows = read_metadata(self.metadata, part_ids)
        groups = rows.groupby("part_id").indices
        rows = rows.drop(columns="part_id")
        return lambda part_id: rows.iloc[groups.get(part_id, [])]


def recognise(path: pathlib.Path) -> bool:
    """Whether a folder holds parts of DiffusionDB."""
    patterns = (*_PATTERNS_2M, *_PATTERNS_LARGE)
    return any(_PART_ID.fullmatch(p.name) for n in patterns for p in path.glob(n))


def open_source(path: pathlib.Path, columns: ColumnNames) -> DiffusionDBSource:
    """Opens a folder of parts.

    Args:
        path: the folder.
        columns: must be the default, since the columns are known.

    Raises:
        ValueError: if the folder holds no parts, both data sets, or one part twice, or
            if names of columns are given.
    """
    if columns != FOUND:
        given = (columns.image, columns.prompt, columns.split, columns.source)
        raise ValueError(
            "image_column, prompt_column, split_column and source_column are not for "
            "DiffusionDB, whose columns are known. Received: "
            f"{next(filter(None, given))}"
        )
    parts_2m = _list_parts(path, _PATTERNS_2M)
    parts_large = _list_parts(path, _PATTERNS_LARGE)
    if parts_2m and parts_large:
        raise ValueError(
            f"source must hold one layout, not both 2M and Large. Received: {path}"
        )
    if not parts_2m and not parts_large:
        raise ValueError(f"source must be {HOLDS}. Received: {path}")
    if parts_2m:
        metadata = _first_file(path, "metadata.parquet", "metadata-large.parquet")
        return DiffusionDBSource("diffusiondb_2m", path, parts_2m, metadata)
    metadata = _first_file(path, "metadata-large.parquet")
    return DiffusionDBSource("diffusiondb_large", path, parts_large, metadata)


def _list_parts(root: pathlib.Path, patterns) -> dict[int, pathlib.Path]:
    parts: dict[int, pathlib.Path] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            match = _PART_ID.fullmatch(path.name)
            if match is None or bool(match[2]) == path.is_dir():
                continue
            other = parts.get(int(match[1]))
            # If a zip and the folder that it was unpacked into exist, the zip is used.
            if other is None or other == path.with_suffix(""):
                parts[int(match[1])] = path
            else:
                raise ValueError(
                    f"a part must be there once. Received: {other} and {path}"
                )
    return parts


def _first_file(root: pathlib.Path, *names: str) -> pathlib.Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)


def _size_of(part: pathlib.Path) -> int:
    if part.is_dir():
        return sum(file.stat().st_size for file in _list_images(part).values())
    return part.stat().st_size


def _list_images(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    files = listing.list_files(folder, recursive=True)
    return {file.name: file for file in files if file.suffix != ".json"}


def _open_part(part: pathlib.Path) -> ZipImages | FileImages:
    if not part.is_dir():
        return ZipImages(part)
    return FileImages(_list_images(part), functools.partial(_read_json, part))


def _read_json(folder: pathlib.Path, files):
    path = next(iter(sorted(folder.rglob("*.json"))), None)
    if path is None:
        return parse_part_json(b"{}")
    if path.stat().st_size > MAX_JSON_SIZE:
        raise ValueError(f"{path} is not safe to read")
    return parse_part_json(path.read_bytes())
