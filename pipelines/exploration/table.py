"""The table of a source: one row per image, and each distinct prompt once."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
import tqdm

from pipelines.cleaning import clean_prompt
from pipelines.damage import READ_ERRORS
from pipelines.diffusiondb.metadata import check_types
from pipelines.fields import FOUND, ColumnNames
from pipelines.layouts.diffusiondb import DiffusionDBSource
from pipelines.parts import Source
from pipelines.sources import open_source

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None

# The columns that are counted, if the source has them.
COLUMNS = (
    "prompt",
    "part_id",
    "seed",
    "step",
    "cfg",
    "sampler",
    "width",
    "height",
    "timestamp",
    "image_nsfw",
)
_FILTERED = {"step", "cfg", "width", "image_nsfw"}
_METADATA_ALONE = {
    "metadata.parquet": "diffusiondb_2m",
    "metadata-large.parquet": "diffusiondb_large",
}
_BATCH_SIZE = 200_000


@dataclasses.dataclass(frozen=True)
class Table:
    """All rows of a source, about thirty bytes each, and their prompts.

    Args:
        name: kind of source, such as `diffusiondb_2m`.
        rows: table of `prompt_id`, an index into `prompts`, and those of `COLUMNS` that
            the source has, without `prompt` and `part_id`.
        prompts: each distinct prompt once.
        notes: what a reader of the numbers should know.
    """

    name: str
    rows: pd.DataFrame
    prompts: list[str]
    notes: list[str]


def open_table(
    path: str | pathlib.Path, layout: str | None = None, columns: ColumnNames = FOUND
) -> Source:
    """Opens a source as `open_source` does, or metadata without archives.

    Args:
        path, layout, columns: as in `open_source`.

    Raises:
        FileNotFoundError: if there is nothing at its path.
        ValueError: if it fits no layout, or more than one.
    """
    path = pathlib.Path(path)
    names = [name for name in _METADATA_ALONE if (path / name).is_file()]
    has_archives = any(
        next(path.glob(pattern), None) for pattern in ("part-*", "*/part-*")
    )
    if not names or has_archives or layout not in (None, "diffusiondb"):
        return open_source(path, layout, columns)
    if len(names) > 1:
        raise ValueError(
            f"source must hold one metadata file. Received: {path} with "
            f"{' and '.join(names)}"
        )
    return DiffusionDBSource(_METADATA_ALONE[names[0]], path, {}, path / names[0])


def read_table(source: Source, cleans: bool = False) -> Table:
    """Reads the rows of a source without looking at its images.

    If the metadata covers more parts than exist, only the rows of existing parts are
    read, since only these become records.

    Args:
        source: from `open_table`.
        cleans: whether to remove syntax from prompts first.

    Raises:
        ValueError: if the metadata cannot be read, or there are no rows.
    """
    notes = list(source.notes)
    if isinstance(source, DiffusionDBSource) and source.metadata is not None:
        if not len(source):
            notes.append("no archives here: all rows of the metadata are counted")
        batches = _read_parquet(source.metadata, sorted(source.archives))
    else:
        batches = _read_parts(source)
    ids: dict[str, int] = {}
    clean = clean_prompt if cleans else str
    frames = [_number_prompts(batch, ids, clean) for batch in batches]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if rows.empty:
        raise ValueError("source must have rows of its parts. Received: none")
    if not _FILTERED & set(rows):
        notes.append("this source has no metadata: only prompts can be filtered by")
    if cleans:
        notes.append("prompts are counted as --clean-prompts leaves them")
    return Table(source.name, rows, list(ids), notes)


def _number_prompts(
    batch: pd.DataFrame, ids: dict[str, int], clean: Callable[[str], str]
) -> pd.DataFrame:
    codes, prompts = pd.factorize(batch["prompt"].fillna(""))
    new_ids = [ids.setdefault(clean(str(prompt)), len(ids)) for prompt in prompts]
    columns = [name for name in COLUMNS[2:] if name in batch]
    return batch[columns].assign(prompt_id=np.array(new_ids, np.int32)[codes])


def _read_parts(source: Source) -> Iterator[pd.DataFrame]:
    parts: Iterable = source.parts()
    if len(source) > 1:
        parts = tqdm.tqdm(parts, "reading", len(source), unit=" parts")
    for part in parts:
        try:
            yield part.read_rows()
        except READ_ERRORS as error:
            raise ValueError(
                f"a part must be a whole archive. Received: {part.name}: {error}"
            ) from error


def _read_parquet(path: pathlib.Path, part_ids: list[int]) -> Iterator[pd.DataFrame]:
    if pyarrow is None:
        raise ValueError('DiffusionDB needs an extra: pip install "tf_prompt[ingest]"')
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = [name for name in COLUMNS if name in file.schema_arrow.names]
            for name in ("prompt", "part_id"):
                if name not in columns:
                    raise ValueError(f"it has no column {name}")
            check_types(file.schema_arrow, columns)
            total = file.metadata.num_rows
            with tqdm.tqdm(total=total, desc="reading", unit=" rows") as bar:
                for batch in file.iter_batches(_BATCH_SIZE, columns=columns):
                    batch.validate(full=True)
                    # Without pandas' own metadata in the file, which may be damaged.
                    rows = batch.replace_schema_metadata().to_pandas()
                    bar.update(len(rows))
                    yield rows[rows["part_id"].isin(part_ids)] if part_ids else rows
    except (pyarrow.ArrowException, ValueError) as error:
        raise ValueError(
            f"metadata must be DiffusionDB's parquet. Received: {path}: {error}"
        ) from error
