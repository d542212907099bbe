"""What kind of source a folder is, and the parts it is cut into."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipelines.containers import FileImages, ZipImages
from pipelines.diffusiondb.metadata import read_metadata
from pipelines.groups import group_by_picture
from pipelines.names import FileFinder, match_names
from pipelines.prompt_table import read_prompt_table
from tf_prompt.data import listing

LOOSE_PART_SIZE = 1000
# Rows of so many parts are in memory at a time: 200,000 of DiffusionDB's.
PARTS_PLANNED = 200
LAYOUTS = (
    "DiffusionDB 2M (images/part-*.zip or part-*.zip, metadata.parquet), "
    "DiffusionDB Large (diffusiondb-large-part-*/part-*.zip, metadata-large.parquet), "
    "a Kaggle folder (images/, prompts.csv with columns imgId,prompt), "
    "or a CSV file with columns file,prompt"
)
_PART_ID = re.compile(r"part-(\d+)\.zip")


@dataclasses.dataclass(frozen=True)
class Part:
    """What becomes one shard of each split.

    Args:
        index: number of its shards, from 0.
        name: what it is called in messages and in its stats.
        size: bytes.
        rows: `image_name`, `prompt`, and DiffusionDB's columns where there are
            any; None if they are in the archive's own JSON.
        archive: zip that holds the images, or None.
        files: loose images by name, if there is no archive.
    """

    index: int
    name: str
    size: int
    rows: pd.DataFrame | None
    archive: pathlib.Path | None = None
    files: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)

    def open_images(self) -> ZipImages | FileImages:
        """Opens the images; used as a context manager."""
        return ZipImages(self.archive) if self.archive else FileImages(self.files)


@dataclasses.dataclass(frozen=True)
class DiffusionDBSource:
    """Archives of DiffusionDB, and their metadata if it is there.

    Args:
        name: `diffusiondb_2m` or `diffusiondb_large`.
        root: the source folder.
        archives: paths of the parts, by part number.
        metadata: the parquet file, or None.
    """

    name: str
    root: pathlib.Path
    archives: Mapping[int, pathlib.Path]
    metadata: pathlib.Path | None

    def __len__(self) -> int:
        return len(self.archives)

    @property
    def notes(self) -> list[str]:
        """What a user should know before the work begins."""
        if self.metadata is not None:
            return []
        return [
            f"no metadata parquet in {self.root}: prompts, cfg and step come from each "
            "part's JSON, --square looks at the images, --drop-blurred is off"
        ]

    def parts(self) -> Iterator[Part]:
        """Gives the parts in order of number, with their rows of the metadata."""
        part_ids = sorted(self.archives)
        for start in range(0, len(part_ids), PARTS_PLANNED):
            planned = part_ids[start : start + PARTS_PLANNED]
            rows_of = self._read_rows(planned)
            for index, part_id in enumerate(planned, start):
                archive = self.archives[part_id]
                yield Part(
                    index=index,
                    name=archive.relative_to(self.root).as_posix(),
                    size=archive.stat().st_size,
                    rows=rows_of(part_id),
                    archive=archive,
                )

    def _read_rows(self, part_ids):
        if self.metadata is None:
            return lambda part_id: None
        rows = read_metadata(self.metadata, part_ids)
        groups = rows.groupby("part_id").indices
        rows = rows.drop(columns="part_id")
        return lambda part_id: rows.iloc[groups.get(part_id, [])]


@dataclasses.dataclass(frozen=True)
class LooseSource:
    """Loose image files and the table of their prompts.

    Args:
        name: `kaggle` or `csv`.
        table: file name of the table.
        rows: `image_name` and `prompt`, and `group` where pictures have several.
        files: the images that exist, by name.
        notes: what a user should know before the work begins.
    """

    name: str
    table: str
    rows: pd.DataFrame
    files: Mapping[str, pathlib.Path]
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return -(-len(self.rows) // LOOSE_PART_SIZE)

    def parts(self) -> Iterator[Part]:
        """Cuts the table; images that it does not name go to the last part."""
        unlisted = set(self.files).difference(self.rows["image_name"])
        for index in range(len(self)):
            start = index * LOOSE_PART_SIZE
            rows = self.rows.iloc[start : start + LOOSE_PART_SIZE]
            names = [name for name in rows["image_name"] if name in self.files]
            if index == len(self) - 1:
                names += sorted(unlisted)
            files = {name: self.files[name] for name in names}
            yield Part(
                index=index,
                name=f"{self.table} rows {start + 1}-{start + len(rows)}",
                size=sum(file.stat().st_size for file in files.values()),
                rows=rows,
                files=files,
            )


def open_source(path: str | pathlib.Path) -> DiffusionDBSource | LooseSource:
    """Recognises a source by what it holds.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if it fits no layout, or two.
    """
    path = pathlib.Path(path)
    if path.is_file() and path.suffix.lower() == ".csv":
        return _open_csv(path)
    if not path.exists():
        raise FileNotFoundError(f"source must be a folder or a CSV. Received: {path}")
    archives_2m = _list_archives(path, "images/part-*.zip", "part-*.zip")
    archives_large = _list_archives(path, "diffusiondb-large-part-*/part-*.zip")
    if archives_2m and archives_large:
        raise ValueError(
            f"source must hold one layout, not both 2M and Large. Received: {path}"
        )
    if archives_2m:
        metadata = _first_file(path, "metadata.parquet", "metadata-large.parquet")
        return DiffusionDBSource("diffusiondb_2m", path, archives_2m, metadata)
    if archives_large:
        metadata = _first_file(path, "metadata-large.parquet")
        return DiffusionDBSource("diffusiondb_large", path, archives_large, metadata)
    if (path / "images").is_dir() and (path / "prompts.csv").is_file():
        return _open_kaggle(path)
    raise ValueError(f"source must be {LAYOUTS}. Received: {path}")


def _list_archives(root: pathlib.Path, *patterns: str) -> dict[int, pathlib.Path]:
    archives: dict[int, pathlib.Path] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            match = _PART_ID.fullmatch(path.name)
            if match is None:
                continue
            other = archives.setdefault(int(match[1]), path)
            if other != path:
                raise ValueError(
                    f"a part must be there once. Received: {other} and {path}"
                )
    return archives


def _first_file(root: pathlib.Path, *names: str) -> pathlib.Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)


def _open_kaggle(root: pathlib.Path) -> LooseSource:
    files = {
        # A name that is not UTF-8 matches no row; its bytes become readable.
        file.name.encode(errors="backslashreplace").decode(): file
        for file in listing.list_files(root / "images")
    }
    name_of = {file.stem: name for name, file in files.items()}
    known = {**{name: name for name in files}, **name_of}
    rows = read_prompt_table(root / "prompts.csv", "imgId", known.__contains__)
    ids = match_names(rows["image_name"], known)
    rows["image_name"] = [known.get(image_id, image_id) for image_id in ids]
    listed = set(rows["image_name"])
    files = {
        name: file
        for name, file in files.items()
        if name in listed or listing.has_image_ending(file)
    }
    return _group_pictures("kaggle", "prompts.csv", rows, files)


def _open_csv(path: pathlib.Path) -> LooseSource:
    find = FileFinder(path.parent).find
    rows = read_prompt_table(path, "file", lambda name: find(name) is not None)
    found = {name: find(name) for name in set(rows["image_name"])}
    rows["image_name"] = [found[name] or name for name in rows["image_name"]]
    files = {name: path.parent / name for name in found.values() if name}
    return _group_pictures("csv", path.name, rows, files)


def _group_pictures(name, table, rows, files) -> LooseSource:
    """Makes the source; prompts of one picture become a group, as in `split.py`."""
    paths = {name: os.path.realpath(file) for name, file in files.items()}
    pictures = [paths.get(name, name) for name in rows["image_name"]]
    groups, num_pictures = group_by_picture(pictures, rows["prompt"])
    if not num_pictures:
        return LooseSource(name, table, rows, files)
    note = f"pictures with several prompts, each kept in one split: {num_pictures}"
    return LooseSource(name, table, rows.assign(group=groups), files, (note,))
