"""What DiffusionDB publishes, and where; light to import."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable

from tf_prompt.options import option

BASE_URL = "https://huggingface.co/datasets/poloclub/diffusiondb/resolve/main"
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Layout:
    """One of the two data sets, as it is published and as `open_source` reads it.

    Args:
        name: its name in messages.
        num_parts: number of parts, numbered from 1.
        metadata: path of the parquet file.
        folders: dict from a folder of parts to the largest number in it, in order.
    """

    name: str
    num_parts: int
    metadata: str
    folders: dict[str, int]

    def path_of(self, part: int) -> str:
        """Returns the path of a part's archive from the root of the data set."""
        folder = next(name for name, last in self.folders.items() if part <= last)
        return f"{folder}/part-{part:06d}.zip"


LAYOUT_2M = Layout("2M", 2000, "metadata.parquet", {"images": 2000})
LAYOUT_LARGE = Layout(
    "Large",
    14000,
    "metadata-large.parquet",
    {"diffusiondb-large-part-1": 10000, "diffusiondb-large-part-2": 14000},
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which files to download."""

    parts: str | None = option(
        None, "input: numbers and inclusive ranges of parts, such as 1-3,17"
    )
    all: bool = option(False, "input: download every part")
    metadata_only: bool = option(False, "input: download only the metadata parquet")
    large: bool = option(
        False, "input: DiffusionDB Large, 14000 parts, instead of 2M, 2000 parts"
    )

    def __post_init__(self):
        given = {
            "--parts": self.parts is not None,
            "--all": self.all,
            "--metadata-only": self.metadata_only,
        }
        if sum(given.values()) != 1:
            received = [flag for flag, is_given in given.items() if is_given]
            raise ValueError(
                f"exactly one of {', '.join(given)} must be given. "
                f"Received: {', '.join(received) or 'none'}"
            )
        self.list_files()

    @property
    def layout(self) -> Layout:
        """The layout of the chosen data set."""
        return LAYOUT_LARGE if self.large else LAYOUT_2M

    def list_files(self) -> list[str]:
        """Lists the paths of the metadata and archives, from the data set's root."""
        parts: Iterable[int] = ()
        if self.all:
            parts = range(1, self.layout.num_parts + 1)
        elif self.parts is not None:
            parts = parse_parts(self.parts, self.layout.num_parts)
        return [self.layout.metadata, *map(self.layout.path_of, parts)]


def parse_parts(text: str, num_parts: int) -> list[int]:
    """Reads numbers and inclusive ranges, such as `1-3,17`.

    Args:
        text: the numbers.
        num_parts: the largest number that exists.

    Returns:
        list of the parts' numbers, each once, in order.

    Raises:
        ValueError: if the text has another form, or names a part that does not exist.
    """
    parts: set[int] = set()
    for piece in text.split(","):
        match = _RANGE.fullmatch(piece.strip())
        if match is None:
            raise ValueError(
                f"parts must be numbers and ranges such as 1-3,17. Received: {text!r}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        # Checked before the range is expanded, because it may be of any length.
        if not 1 <= first <= last <= num_parts:
            raise ValueError(
                f"parts must lie within 1-{num_parts}, ranges upwards. "
                f"Received: {piece.strip()}"
            )
        parts.update(range(first, last + 1))
    return sorted(parts)


def require_one_layout(folder: pathlib.Path, layout: Layout) -> None:
    """Checks that a folder has no parts of the other set; `open_source` needs one set.

    Args:
        folder: the folder.
        layout: the layout of the parts to download.

    Raises:
        ValueError: if the folder holds parts of the other data set.
    """
    other = LAYOUT_2M if layout is LAYOUT_LARGE else LAYOUT_LARGE
    found = [name for name in other.folders if any(folder.glob(f"{name}/part-*.zip"))]
    if found:
        raise ValueError(
            f"output must not hold DiffusionDB {other.name} too. "
            f"Received: {folder} with {found[0]}"
        )
