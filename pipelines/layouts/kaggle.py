"""The Kaggle competition's folder: `images/` and `prompts.csv`."""

import pathlib

from pipelines.fields import ColumnNames
from pipelines.layouts.loose import LooseSource, make_source
from pipelines.names import match_names
from pipelines.prompt_table import read_prompt_table
from tf_prompt.data import listing

HOLDS = "a Kaggle folder (images/, prompts.csv with columns imgId,prompt)"
_KNOWN = (("imgId",), ("prompt",))


def recognise(path: pathlib.Path) -> bool:
    """Whether a folder has images and the table of their prompts."""
    return (path / "images").is_dir() and (path / "prompts.csv").is_file()


def open_source(path: pathlib.Path, columns: ColumnNames) -> LooseSource:
    """Opens such a folder; an `imgId` is a file's name with or without its extension.

    Args:
        path: the folder.
        columns: names that the user gave.

    Raises:
        ValueError: if the table cannot be read.
    """
    if not recognise(path):
        raise ValueError(f"source must be {HOLDS}. Received: {path}")
    files = {
        # A name that is not UTF-8 matches no row; its bytes become readable.
        file.name.encode(errors="backslashreplace").decode(): file
        for file in listing.list_files(path / "images")
    }
    name_of = {file.stem: name for name, file in files.items()}
    known = {**{name: name for name in files}, **name_of}
    table = path / "prompts.csv"
    rows = read_prompt_table(table, _KNOWN, known.__contains__, columns)
    ids = match_names(rows["image_name"], known)
    rows["image_name"] = [_find(image_id, known) for image_id in ids]
    listed = set(rows["image_name"])
    files = {
        name: file
        for name, file in files.items()
        if name in listed or listing.has_image_ending(file)
    }
    return make_source("kaggle", "prompts.csv", rows, files, is_curated=True)


def _find(image_id: str, known: dict[str, str]) -> str:
    """Returns the file of an id; if the extension differs, the file with its stem."""
    path = pathlib.PurePath(image_id)
    stem = path.stem if listing.has_image_ending(path) else image_id
    return known.get(image_id) or known.get(stem, image_id)
