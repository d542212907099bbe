"""DiffusionDB's metadata: the columns in use, and the filters on them."""

import pathlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from pipelines.options import Filters

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
FILTERS = ("not_square", "blurred", "low_cfg", "few_steps")
BLURRED = 2.0


def read_metadata(
    path: str | pathlib.Path, part_ids: Iterable[int] | None = None
) -> pd.DataFrame:
    """Reads the columns in use of `metadata.parquet` or `metadata-large.parquet`.

    Args:
        path: the parquet file.
        part_ids: parts whose rows are wanted; None reads all.

    Returns:
        One row an image, `COLUMNS`. A prompt that is absent is empty.

    Raises:
        ValueError: if the file is not parquet or lacks a column, or if pyarrow is
            not installed.
    """
    if pyarrow is None:
        raise ValueError('DiffusionDB needs an extra: pip install "tf_prompt[ingest]"')
    try:
        present = pyarrow.parquet.read_schema(path).names
        missing = [name for name in COLUMNS if name not in present]
        if missing:
            raise ValueError(f"it has no column {', '.join(missing)}")
        wanted = None if part_ids is None else [("part_id", "in", list(part_ids))]
        rows = pd.read_parquet(path, columns=list(COLUMNS), filters=wanted)
    except (pyarrow.ArrowException, ValueError) as error:
        raise ValueError(
            f"metadata must be DiffusionDB's parquet. Received: {path}: {error}"
        ) from error
    rows["prompt"] = rows["prompt"].fillna("")
    return rows


def dropped_by(rows: pd.DataFrame, filters: Filters) -> np.ndarray:
    """Names the first filter that drops each row.

    A filter whose column is absent drops nothing, and neither does a value that
    is unknown.

    Args:
        rows: some of `COLUMNS`.
        filters: the limits.

    Returns:
        Strings `(rows,)`: one of `FILTERS`, or empty for a row that is kept.
    """
    drops = {}
    if filters.square and "width" in rows:
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
