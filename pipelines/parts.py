"""The interface of sources: parts of rows and images, each of which makes a shard."""

import dataclasses
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import IO

import pandas as pd

# Number of images per part, if the source itself has no parts.
PART_SIZE = 1000


class Images(typing.Protocol):
    """The encoded images of a part; a context manager.

    They are read one at a time, preferably in the order of the part's rows, because a
    parquet file or a compressed archive can only be read forwards.

    Attributes:
        names: names of the images, as in the rows.
    """

    names: Collection[str]

    def is_safe(self, name: str) -> bool:
        """Whether an image may be read: no link, inside, of a reasonable size."""

    def open(self, name: str) -> IO[bytes]:
        """Opens one encoded image, so that no more of it is read than needed."""

    def read(self, name: str) -> bytes:
        """Reads one encoded image."""

    def read_rows(self) -> pd.DataFrame:
        """Reads the rows, if they are stored with the images."""

    def __enter__(self) -> "Images": ...

    def __exit__(self, *error) -> None: ...


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a source, which becomes one shard per split.

    Args:
        index: number of its shards, from 0.
        name: its name in messages and stats.
        size: size in bytes.
        rows: table of `image_name`, `prompt`, and those of `fields.FIELDS` that the
            source has; None if the rows are stored with the images.
        opener: function that opens the images; it is sent to other processes.
        columns: columns that planning adds, one value per row; see `PlannedSource`.
        measures: whether `--square` reads the sizes of images, without metadata.
        unlisted: cause for rejecting an image without a row, see `tally`.
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
        """Opens the images, a context manager."""
        return self.opener()

    def read_rows(self, images: Images | None = None) -> pd.DataFrame:
        """Returns the rows, with the columns that planning added.

        Args:
            images: the images of this part, if they are open.

        Raises:
            ValueError: if the part has changed since planning.
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
        """Returns the part with columns added, one value per row."""
        return dataclasses.replace(self, columns=columns)


class Source(typing.Protocol):
    """A collection of images and prompts, cut into parts.

    Attributes:
        name: kind of source; letters, digits and underscores.
        notes: notes for the user before the work begins.
        is_curated: whether prompts are kept unchanged and images follow the rules
            of DiffusionDB or Kaggle; otherwise syntax is removed from prompts.
    """

    name: str
    notes: Sequence[str]
    is_curated: bool

    def __len__(self) -> int:
        """Number of parts."""

    def parts(self) -> Iterator[Part]:
        """Yields the parts in order."""


@dataclasses.dataclass(frozen=True)
class PartList:
    """A source whose parts are cheap to list.

    Args:
        name, notes, is_curated: as in `Source`.
        list_parts: function that returns all parts.
        num_parts: number of parts.
    """

    name: str
    list_parts: Callable[[], Iterator[Part]]
    num_parts: int
    notes: Sequence[str] = ()
    is_curated: bool = False

    def __len__(self) -> int:
        return self.num_parts

    def parts(self) -> Iterator[Part]:
        """Yields the parts in order."""
        return self.list_parts()
