"""Opens a source, in the layout that is recognised or named by the user."""

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
    """One layout of images and prompts.

    Args:
        holds: description of a source with this layout.
        recognise: function from an existing path to whether it has this layout.
        open: function that opens such a source.
    """

    holds: str
    recognise: Callable[[pathlib.Path], bool]
    open: Callable[[pathlib.Path, ColumnNames], Source]


# In the order in which they are tried: img2dataset also writes tars, and images with
# texts beside them may also contain prompts.
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
    """Opens a source in the given layout, or else in the first that is recognised.

    Args:
        path: a folder or a file.
        layout: one of `options.LAYOUTS`; None recognises it.
        columns: names that the user gave.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if no layout is recognised, or the given one does not fit.
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
    """Opens the source of a command's options; see `open_source`."""
    return open_source(options.source, options.layout, name_columns(options))


def name_columns(options: SourceOptions) -> ColumnNames:
    """Returns the names of columns in a command's options."""
    return ColumnNames(
        options.image_column,
        options.prompt_column,
        options.split_column,
        options.source_column,
    )
