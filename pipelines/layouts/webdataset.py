"""WebDataset's tars, and what img2dataset writes: tars, parquet files, folders."""

import functools
import pathlib
from collections.abc import Iterator

from pipelines.fields import ColumnNames
from pipelines.layouts import folders, parquet
from pipelines.parts import Part, PartList
from pipelines.tar_images import TarImages

HOLDS = "WebDataset tars, each image with a .txt or .json of the same key"
HOLDS_IMG2DATASET = "a folder that img2dataset wrote"
_ENDINGS = (".tar", ".tar.gz", ".tgz")


def recognise(path: pathlib.Path) -> bool:
    """Whether a path is a tar, or a folder with tars."""
    return next(_iterate_tars(path), None) is not None


def recognise_img2dataset(path: pathlib.Path) -> bool:
    """Whether a folder holds the statistics that img2dataset writes."""
    return path.is_dir() and next(path.glob("[0-9]*_stats.json"), None) is not None


def open_img2dataset(path: pathlib.Path, columns: ColumnNames) -> PartList:
    """Opens what img2dataset wrote as tars, parquet files or folders of images.

    Args:
        path: the folder.
        columns: names that the user gave.

    Raises:
        ValueError: if there is none of the three.
    """
    if recognise(path):
        return open_source(path, columns, "img2dataset")
    # Its parquet files beside tars and folders contain no images.
    if parquet.recognise(path):
        return parquet.open_source(path, columns, "img2dataset")
    return folders.open_sidecar(path, columns, "img2dataset")


def open_source(
    path: pathlib.Path, columns: ColumnNames, name: str = "webdataset"
) -> PartList:
    """Opens one tar or a folder of tars; each is a part.

    Args:
        path: a file or a folder.
        columns: names that the user gave, of fields of the JSON or file extensions.
        name: name of the source.

    Raises:
        ValueError: if there is no tar.
    """
    files = list(_iterate_tars(path))
    if not files:
        raise ValueError(f"source must be {HOLDS}. Received: {path}")
    root = path if path.is_dir() else path.parent
    list_parts = functools.partial(_list_parts, root, files, columns)
    return PartList(name, list_parts, len(files))


def _iterate_tars(path: pathlib.Path) -> Iterator[pathlib.Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*.t*"))
    for file in files:
        if file.name.lower().endswith(_ENDINGS) and not file.name.startswith("."):
            yield file


def _list_parts(root, files, columns) -> Iterator[Part]:
    for index, file in enumerate(files):
        below = file.relative_to(root)
        yield Part(
            index=index,
            name=below.as_posix(),
            size=file.stat().st_size,
            rows=None,
            unlisted="no_prompt",
            opener=functools.partial(TarImages, file, columns.at(below)),
        )
