"""What every source is: parts of rows and images, each of which becomes a shard."""

import dataclasses
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import IO

import pandas as pd

# Images of a part, where the source itself has none.
PART_SIZE = 1000


class Images(typing.Protocol):
    """The encoded images of a part; a context manager.

    They are read one at a time, best in the order of the part's rows: a parquet file
    or a compressed archive can only be read forwards.

    Attributes:
        names: of the images, as the rows have them.
    """

    names: Collection[str]

    def is_safe(self, name: str) -> bool:
        """Whether an image may be read: no link, a place inside, a sane size."""

    def open(self, name: str) -> IO[bytes]:
        """Opens one encoded image, to read no more of it than is needed."""

    def read(self, name: str) -> bytes:
        """Reads one encoded image."""

    def read_rows(self) -> pd.DataFrame:
        """Reads the rows of a part that brings them along with its images."""

    def __enter__(self) -> "Images": ...

    def __exit__(self, *error) -> None: ...


@dataclasses.dataclass(frozen=True)
class Part:
    """What becomes one shard of each split.

    Args:
        index: number of its shards, from 0.
        name: what it is called in messages and in its stats.
        size: bytes.
        rows: `image_name`, `prompt`, and those of `fields.FIELDS` that the source
            has; None if they lie with the images.
        opener: opens the images; it is sent to other processes.
        columns: what planning adds to the rows, one value a row; see `plan`.
        measures: whether `--square` looks at the images, for want of metadata.
        unlisted: what an image that no row names is rejected for, see `tally`.
    """

    index: int
    name: str
    size: int
    rows: pd.DataFrame | None
    opener: Callable[[], Images]
    columns: pd.DataFrame | None = None
    measures: bool = False
    unlisted: str = "no_metadata_row"

    def open_images(self) -> Images:
        """Opens the images; used as a context manager."""
        return self.opener()

    def read_rows(self, images: Images | None = None) -> pd.DataFrame:
        """Gives the rows, with what planning has added.

        Args:
            images: of this part, if they are open.
        """
        rows = self.rows
        if rows is None and images is not None:
            rows = images.read_rows()
        elif rows is None:
            with self.open_images() as opened:
                rows = opened.read_rows()
        if self.columns is None:
            return rows
        if len(rows) != len(self.columns):
            raise ValueError(f"a part must not change meanwhile. Received: {self.name}")
        return rows.assign(**{n: v.to_numpy() for n, v in self.columns.items()})

    def with_columns(self, columns: pd.DataFrame) -> "Part":
        """Adds columns, one value a row."""
        return dataclasses.replace(self, columns=columns)


class Source(typing.Protocol):
    """A collection of images and prompts, cut into parts.

    Attributes:
        name: kind of source; letters, digits and underscores.
        notes: what a user should know before the work begins.
        is_curated: whether prompts are kept unchanged and images follow the rules
            of DiffusionDB or Kaggle; else syntax is removed from prompts.
    """

    name: str
    notes: Sequence[str]
    is_curated: bool

    def __len__(self) -> int:
        """Number of parts."""

    def parts(self) -> Iterator[Part]:
        """Gives the parts in order."""


@dataclasses.dataclass(frozen=True)
class PartList:
    """A source whose parts cost little to list.

    Args:
        name, notes, is_curated: as in `Source`.
        list_parts: gives all parts.
        num_parts: how many they are.
    """

    name: str
    list_parts: Callable[[], Iterator[Part]]
    num_parts: int
    notes: Sequence[str] = ()
    is_curated: bool = False

    def __len__(self) -> int:
        return self.num_parts

    def parts(self) -> Iterator[Part]:
        """Gives the parts in order."""
        return self.list_parts()
