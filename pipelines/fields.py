"""The columns of rows: their names in sources, and those that filters use."""

import codecs
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from tf_prompt.data.split import SPLITS

# Our name of a column, and its names in sources, of which the first found is used.
NUMBERS = {
    "seed": ("seed",),
    "step": ("step", "steps", "num_inference_steps", "inference_steps"),
    "cfg": ("cfg", "cfg_scale", "guidance_scale", "guidance"),
    "width": ("width",),
    "height": ("height",),
    "image_nsfw": ("image_nsfw",),
}
TEXTS = {
    "sampler": ("sampler", "sampler_name", "scheduler"),
    "model": ("model", "model_name", "checkpoint"),
}
FIELDS = (*NUMBERS, *TEXTS, "split", "source")
IMAGE_COLUMNS = ("image", "jpg", "png", "webp", "img", "image_bytes", "bytes")
FILE_COLUMNS = ("file", "path", "file_name", "filename", "image", "image_path")
PROMPT_COLUMNS = ("prompt", "text", "caption")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclasses.dataclass(frozen=True)
class ColumnNames:
    """Names of columns that a user gave; None means that they are recognised.

    Args:
        image: column of images, or of their files.
        prompt: column of prompts.
        split: column of the source's own splits; None uses none.
        source: column by which scores are grouped; None uses none.
        place: the split in the name of a file or folder, used if the column is to be
            `split` and there is no such column.
    """

    image: str | None = None
    prompt: str | None = None
    split: str | None = None
    source: str | None = None
    place: str = ""

    def at(self, path: pathlib.PurePath) -> "ColumnNames":
        """Returns the same names for one file, whose path may contain the split."""
        return dataclasses.replace(self, place=split_of_path(path.parts))


# All columns are recognised.
FOUND = ColumnNames()


def find_column(
    names: Sequence[str], given: str | None, known: Iterable[str]
) -> str | None:
    """Finds a column by the name that a user gave, else by the known names.

    Args:
        names: names of the source's columns.
        given: the user's name; None looks for the known ones.
        known: known names, in order of preference; case does not matter.

    Returns:
        The name as the source spells it; None if there is no such column.
    """
    if given is not None:
        return given if given in names else None
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[n.lower()] for n in known if n.lower() in lower), None)


def wanted_columns(names: Sequence[str], columns: ColumnNames) -> list[str]:
    """Lists the columns of a source that `pick_fields` reads.

    Args:
        names: names of the source's columns.
        columns: names that the user gave.
    """
    kinds = [*NUMBERS.values(), *TEXTS.values()]
    found = [find_column(names, None, known) for known in kinds]
    found += [columns.split, columns.source]
    return [name for name in dict.fromkeys(found) if name in names]


def make_table(
    entries: Sequence[dict], columns: ColumnNames, more: Sequence[str] = ()
) -> pd.DataFrame:
    """Converts JSON objects to a table of the columns that `pick_fields` reads.

    Args:
        entries: one object per row; missing values become None.
        columns: names that the user gave.
        more: names of further columns to take.
    """
    titles = list(dict.fromkeys(title for entry in entries for title in entry))
    wanted = dict.fromkeys([*wanted_columns(titles, columns), *more])
    found = {t: [_to_scalar(e.get(t)) for e in entries] for t in wanted}
    return pd.DataFrame(found, index=range(len(entries)), dtype=object)


def _to_scalar(value):
    if isinstance(value, str):
        return to_text(value)
    return value if isinstance(value, int | float | bool) else None


def pick_fields(table: pd.DataFrame, columns: ColumnNames) -> pd.DataFrame:
    """Extracts the known fields from a table, under our names.

    Args:
        table: table with the source's own column names.
        columns: names that the user gave.

    Returns:
        Table of some of `FIELDS`: numbers, NaN if missing; texts; `split`, `source`.

    Raises:
        ValueError: if a given column is missing, or a split column holds no splits.
    """
    found = {}
    for ours, known in NUMBERS.items():
        if name := find_column(list(table), None, known):
            # Not float32: a width must stay a whole number.
            values = pd.to_numeric(table[name], errors="coerce")
            found[ours] = values.astype("float64").to_numpy()
    for ours, known in TEXTS.items():
        if name := find_column(list(table), None, known):
            found[ours] = table[name].astype(object).where(table[name].notna(), "")
            found[ours] = found[ours].map(str).to_numpy()
    if columns.split is not None:
        found["split"] = read_splits(table, columns)
    if columns.source is not None:
        if columns.source not in table:
            raise ValueError(
                "source_column must be a column of the source. Received: "
                f"{columns.source}, not among {', '.join(map(str, table)) or 'none'}"
            )
        found["source"] = table[columns.source].map(to_text).to_numpy()
    return pd.DataFrame(found, index=table.index)


def read_splits(table: pd.DataFrame, columns: ColumnNames) -> np.ndarray:
    """Reads the source's own splits.

    Args:
        table: table with the source's own column names.
        columns: names that the user gave, including that of the split column.

    Returns:
        Strings `(rows,)`, each one of `SPLITS`.

    Raises:
        ValueError: if there is no such column, or a value is not a split.
    """
    column = columns.split
    if column not in table and column == "split" and columns.place:
        return np.full(len(table), columns.place, object)
    if column not in table:
        raise ValueError(
            f"split_column must be a column of the source. Received: {column}, not "
            f"among {', '.join(map(str, table)) or 'none'}"
        )
    values = table[column].map(str)
    splits = values.str.strip().str.lower().map(_SPLIT_NAMES)
    if splits.isna().any():
        raise ValueError(
            f"a split column must hold {', '.join(SPLITS)}, or a short form. Received: "
            f"{values[splits.isna()].iloc[0]} in {column}"
        )
    return splits.to_numpy()


def split_of_path(parts: Iterable[str]) -> str:
    """Reads the split from the name of a folder or file: `train`, `test-00000`.

    Returns:
        One of `SPLITS`; empty if no name contains one.
    """
    for part in reversed(list(parts)):
        stem = part.lower().split("-")[0].split(".")[0].split("_")[0]
        if stem in _SPLIT_NAMES:
            return _SPLIT_NAMES[stem]
    return ""


def to_text(value) -> str:
    """Converts a prompt to text: the first of several; empty if there is none."""
    if isinstance(value, list | tuple | np.ndarray):
        value = value[0] if len(value) else ""
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        value = decode_text(value)
    # JSON can contain half of a surrogate pair, which UTF-8 cannot encode.
    return str(value).encode(errors="replace").decode()


def decode_text(data: bytes) -> str:
    """Decodes UTF-8, UTF-16 with a byte order mark, or else Windows-1252."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
