"""Which layout a source has: told by what it holds, or named by the user."""

import dataclasses
import pathlib
from collections.abc import Callable

from pipelines.fields import FOUND, ColumnNames
from pipelines.layouts import (
    diffusiondb,
    folders,
    imagefolder,
    kaggle,
    parquet,
    tables,
    webdataset,
)
from pipelines.options import SourceOptions
from pipelines.parts import Source


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way of keeping images and prompts.

    Args:
        holds: what a source of it holds, in words.
        recognise: whether a path, which exists, is one.
        open: opens it.
    """

    holds: str
    recognise: Callable[[pathlib.Path], bool]
    open: Callable[[pathlib.Path, ColumnNames], Source]


# In the order in which they are asked: what img2dataset wrote holds tars too, and of
# images with texts beside them some may hold prompts as well.
LAYOUT_OF = {
    "diffusiondb": Layout(
        diffusiondb.HOLDS, diffusiondb.recognise, diffusiondb.open_source
    ),
    "kaggle": Layout(kaggle.HOLDS, kaggle.recognise, kaggle.open_source),
    "csv": Layout(tables.HOLDS_CSV, tables.recognise_csv, tables.open_csv),
    "jsonl": Layout(tables.HOLDS_JSONL, tables.recognise_jsonl, tables.open_jsonl),
    "imagefolder": Layout(
        imagefolder.HOLDS, imagefolder.recognise, imagefolder.open_source
    ),
    "img2dataset": Layout(
        webdataset.HOLDS_IMG2DATASET,
        webdataset.recognise_img2dataset,
        webdataset.open_img2dataset,
    ),
    "webdataset": Layout(
        webdataset.HOLDS, webdataset.recognise, webdataset.open_source
    ),
    "parquet": Layout(parquet.HOLDS, parquet.recognise, parquet.open_source),
    "sidecar": Layout(
        folders.HOLDS_SIDECAR, folders.recognise_sidecar, folders.open_sidecar
    ),
    "embedded": Layout(
        folders.HOLDS_EMBEDDED, folders.recognise_embedded, folders.open_embedded
    ),
}


def open_source(
    path: str | pathlib.Path,
    layout: str | None = None,
    columns: ColumnNames = FOUND,
) -> Source:
    """Opens a source in the layout that is named, else in the first that it fits.

    Args:
        path: a folder or a file.
        layout: one of `options.LAYOUTS`; None tells it by what is there.
        columns: names that the user gave.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if it fits no layout, or not the one that is named.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"source must be a folder or a file. Received: {path}")
    if layout is not None:
        return LAYOUT_OF[layout].open(path, columns)
    for known in LAYOUT_OF.values():
        if known.recognise(path):
            return known.open(path, columns)
    holds = [known.holds for known in LAYOUT_OF.values()]
    raise ValueError(
        f"source must be {', '.join(holds[:-1])}, or {holds[-1]}. Received: {path}; "
        "--layout names one that is not recognised"
    )


def open_options(options: SourceOptions) -> Source:
    """Opens the source that a command is given; see `open_source`."""
    return open_source(options.source, options.layout, name_columns(options))


def name_columns(options: SourceOptions) -> ColumnNames:
    """Gives the names of columns that a user gave to a command."""
    return ColumnNames(
        options.image_column,
        options.prompt_column,
        options.split_column,
        options.source_column,
    )
