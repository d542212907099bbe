"""Image files named by a table: a CSV, JSON lines, a Kaggle folder, imagefolder."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipelines.containers import FileImages
from pipelines.parts import PART_SIZE, Part


@dataclasses.dataclass(frozen=True)
class LooseSource:
    """Loose image files and the table of their prompts.

    Args:
        name: kind of source.
        table: file name of the table.
        rows: `image_name` and `prompt`, fields, and `image_number`, the number of the
            image, where any has several prompts.
        files: the images that exist, by name.
        notes, is_curated: as in `parts.Source`.
    """

    name: str
    table: str
    rows: pd.DataFrame
    files: Mapping[str, pathlib.Path]
    notes: Sequence[str] = ()
    is_curated: bool = False

    @property
    def shares_images(self) -> bool:
        """Whether any image has several prompts, which must stay in one split."""
        return "image_number" in self.rows

    def __len__(self) -> int:
        return -(-len(self.rows) // PART_SIZE)

    def parts(self) -> Iterator[Part]:
        """Yields parts of the table; images that it does not name go to the last."""
        unlisted = set(self.files).difference(self.rows["image_name"])
        for index in range(len(self)):
            start = index * PART_SIZE
            rows = self.rows.iloc[start : start + PART_SIZE]
            names = [name for name in rows["image_name"] if name in self.files]
            if index == len(self) - 1:
                names += sorted(unlisted)
            files = {name: self.files[name] for name in names}
            yield Part(
                index=index,
                name=f"{self.table} rows {start + 1}-{start + len(rows)}",
                size=sum(file.stat().st_size for file in files.values()),
                rows=rows,
                opener=functools.partial(FileImages, files),
            )


def make_source(
    name: str,
    table: str,
    rows: pd.DataFrame,
    files: Mapping[str, pathlib.Path],
    is_curated: bool = False,
) -> LooseSource:
    """Creates the source, and notes which rows belong to the same image.

    Args:
        name, table, rows, files, is_curated: as in `LooseSource`.
    """
    if is_curated:
        # No filters by size: these images are cropped, whatever the table says.
        rows = rows.drop(columns=["width", "height"], errors="ignore")
    paths = {name: os.path.realpath(file) for name, file in files.items()}
    numbers, _ = pd.factorize(rows["image_name"].map(lambda n: paths.get(n, n)))
    prompts_of = rows["prompt"].groupby(numbers).nunique()
    num_shared = int((prompts_of > 1).sum())
    if not num_shared:
        return LooseSource(name, table, rows, files, (), is_curated)
    note = f"images with several prompts, each kept in one split: {num_shared:,}"
    rows = rows.assign(image_number=numbers)
    return LooseSource(name, table, rows, files, (note,), is_curated)
