"""DiffusionDB's metadata: the columns in use, and the filters on them."""

import pathlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from pipelines.options import FILTERS, Filters

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None

COLUMNS = (
    "image_name",
    "prompt",
    "part_id",
    "step",
    "cfg",
    "width",
    "height",
    "image_nsfw",
)
# Types of these columns, and of the others that inspect counts.
_TEXTS = ("image_name", "prompt")
_NUMBERS = ("part_id", "seed", "step", "cfg", "width", "height", "image_nsfw")
BLURRED = 2.0


def read_metadata(
    path: str | pathlib.Path, part_ids: Iterable[int] | None = None
) -> pd.DataFrame:
    """Reads the columns in use of `metadata.parquet` or `metadata-large.parquet`.

    Args:
        path: the parquet file.
        part_ids: parts whose rows to read; None reads all.

    Returns:
        One row per image, with the columns `COLUMNS`. Missing prompts are empty.

    Raises:
        ValueError: if the file is not parquet, lacks a column or has one of the wrong
            type, or if pyarrow is not installed.
    """
    if pyarrow is None:
        raise ValueError('DiffusionDB needs an extra: pip install "tf_prompt[ingest]"')
    try:
        schema = pyarrow.parquet.read_schema(path)
        missing = [name for name in COLUMNS if name not in schema.names]
        if missing:
            raise ValueError(f"it has no column {', '.join(missing)}")
        check_types(schema, COLUMNS)
        wanted = None if part_ids is None else [("part_id", "in", list(part_ids))]
        table = pyarrow.parquet.read_table(path, columns=list(COLUMNS), filters=wanted)
        # Text that is not UTF-8 would otherwise fail only later.
        table.validate(full=True)
        # Without pandas' own metadata in the file, which may be damaged.
        rows = table.replace_schema_metadata().to_pandas()
    except (pyarrow.ArrowException, ValueError) as error:
        raise ValueError(
            f"metadata must be DiffusionDB's parquet. Received: {path}: {error}"
        ) from error
    for name in _TEXTS:
        rows[name] = rows[name].fillna("")
    return rows


def check_types(schema, columns: Iterable[str]) -> None:
    """Checks the types of columns of a parquet file.

    Args:
        schema: `pyarrow.Schema` of the file.
        columns: names of the columns.

    Raises:
        ValueError: naming the first column of a wrong type, or that occurs twice.
    """
    types = pyarrow.types
    for name in columns:
        if schema.names.count(name) > 1:
            raise ValueError(f"it has two columns {name}")
        kind = schema.field(name).type
        if name in _TEXTS and not (
            types.is_string(kind) or types.is_large_string(kind)
        ):
            raise ValueError(f"its column {name} must hold text, not {kind}")
        if name in _NUMBERS and not (types.is_integer(kind) or types.is_floating(kind)):
            raise ValueError(f"its column {name} must hold numbers, not {kind}")


def dropped_by(rows: pd.DataFrame, filters: Filters) -> np.ndarray:
    """Names the first filter that drops each row.

    A filter without its column drops nothing, and neither does an unknown value.

    Args:
        rows: table with some of `COLUMNS`, of DiffusionDB or another source.
        filters: the limits.

    Returns:
        Strings `(rows,)`: one of `FILTERS`, or empty for a row that is kept.
    """
    drops = {}
    if filters.wants_squares and {"width", "height"} <= set(rows):
        known = rows["width"].notna() & rows["height"].notna()
        drops["not_square"] = known & (rows["width"] != rows["height"])
    if filters.drop_blurred and "image_nsfw" in rows:
        drops["blurred"] = rows["image_nsfw"] == BLURRED
    if "cfg" in rows:
        drops["low_cfg"] = rows["cfg"] < filters.min_cfg
    if "step" in rows:
        drops["few_steps"] = rows["step"] < filters.min_step
    causes = np.full(len(rows), "", dtype=object)
    for name in reversed(FILTERS):
        causes[drops.get(name, np.zeros(len(rows), bool))] = name
    return causes
