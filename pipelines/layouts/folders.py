"""Folders of images, possibly nested, with prompts beside them or in their files."""

import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from pipelines.containers import FileImages
from pipelines.fields import ColumnNames, decode_text, split_of_path
from pipelines.parts import PART_SIZE, Part, PartList
from tf_prompt.data import listing
from tf_prompt.data.embedded import read_embedded

HOLDS_SIDECAR = "a folder of images with a .txt or .caption beside each"
HOLDS_EMBEDDED = "a folder of images with their prompts inside"
SIDECARS = (".txt", ".caption")
# Number of images that are examined to recognise a folder.
_LOOKED_AT = 200
# Bytes of an image that may be read: some programs write hundreds of megabytes.
_LARGEST = 64 * 2**20
# Bytes of a sidecar; a longer text is not a prompt.
_LONGEST = 2**20


def recognise_sidecar(path: pathlib.Path) -> bool:
    """Whether most of the images of a folder have a text beside them."""
    images = _first_images(path)
    return 2 * sum(_sidecar_of(image) is not None for image in images) > len(images)


def recognise_embedded(path: pathlib.Path) -> bool:
    """Whether any of the first images of a folder contains its prompt."""
    return any(_read_image(image) is not None for image in _first_images(path))


def open_sidecar(
    path: pathlib.Path, columns: ColumnNames, name: str = "sidecar"
) -> PartList:
    """Opens a folder of images and texts.

    Args:
        path: a folder, or one image.
        columns: names that the user gave; only the split may be given.
        name: name of the source.

    Raises:
        ValueError: if there is no image, or another column is given.
    """
    return _open(name, HOLDS_SIDECAR, path, columns, _read_sidecars)


def open_embedded(path: pathlib.Path, columns: ColumnNames) -> PartList:
    """Opens a folder of images, or one image, with prompts inside the files.

    Args:
        path, columns: as in `open_sidecar`.

    Raises:
        ValueError: as `open_sidecar`.
    """
    return _open("embedded", HOLDS_EMBEDDED, path, columns, _read_embedded)


def _open(name, holds, path, columns, read_rows) -> PartList:
    files = list(_iterate_images(path))
    if not files:
        raise ValueError(f"source must be {holds}. Received: {path} without images")
    if named := columns.image or columns.prompt or columns.source:
        raise ValueError(
            "image_column, prompt_column and source_column are not for a folder of "
            f"images. Received: {named}"
        )
    if columns.split not in (None, "split"):
        raise ValueError(
            "split_column must be split, said by folders such as train, for a folder "
            f"of images. Received: {columns.split}"
        )
    root = path if path.is_dir() else path.parent
    read = functools.partial(read_rows, has_split=columns.split is not None)
    list_parts = functools.partial(_list_parts, root, files, read)
    return PartList(name, list_parts, -(-len(files) // PART_SIZE))


def _list_parts(
    root: pathlib.Path,
    files: Sequence[pathlib.Path],
    read_rows: Callable[[Mapping[str, pathlib.Path]], pd.DataFrame],
) -> Iterator[Part]:
    for index, start in enumerate(range(0, len(files), PART_SIZE)):
        chosen = {
            # Bytes that are not UTF-8 become readable.
            file.relative_to(root)
            .as_posix()
            .encode(errors="backslashreplace")
            .decode(): file
            for file in files[start : start + PART_SIZE]
        }
        yield Part(
            index=index,
            name=f"{root.name} images {start + 1}-{start + len(chosen)}",
            size=sum(_size_of(file) for file in chosen.values()),
            rows=None,
            unlisted="no_prompt",
            opener=functools.partial(FileImages, chosen, read_rows),
        )


def _size_of(file: pathlib.Path) -> int:
    """Size with that of the sidecars, so that a restart notices a changed prompt."""
    sidecar = _sidecar_of(file)
    return sum(f.stat().st_size for f in (file, sidecar) if f and f.is_file())


def _iterate_images(path: pathlib.Path) -> Iterator[pathlib.Path]:
    files = [path] if path.is_file() else listing.list_files(path, recursive=True)
    return filter(listing.has_image_ending, files)


def _first_images(path: pathlib.Path) -> list[pathlib.Path]:
    return list(itertools.islice(_iterate_images(path), _LOOKED_AT))


def _sidecar_of(image: pathlib.Path) -> pathlib.Path | None:
    paths = (image.with_suffix(suffix) for suffix in SIDECARS)
    return next((path for path in paths if path.is_file()), None)


def _make_rows(prompts: Mapping[str, dict], has_split: bool) -> pd.DataFrame:
    rows = pd.DataFrame(
        [{"image_name": name, **found} for name, found in prompts.items()],
        columns=None if prompts else ["image_name", "prompt"],
    )
    rows = rows.astype({"image_name": str, "prompt": str})
    if has_split:
        paths = map(pathlib.PurePosixPath, rows["image_name"])
        rows["split"] = [split_of_path(path.parent.parts) or "train" for path in paths]
    return rows


def _read_sidecars(files: Mapping[str, pathlib.Path], has_split: bool) -> pd.DataFrame:
    """Reads the rows; an image without a text has no row."""
    found = {}
    for name, file in files.items():
        sidecar = _sidecar_of(file)
        if sidecar is not None:
            with sidecar.open("rb") as stream:
                text = decode_text(stream.read(_LONGEST))
            found[name] = {"prompt": text.strip()}
    return _make_rows(found, has_split)


def _read_embedded(files: Mapping[str, pathlib.Path], has_split: bool) -> pd.DataFrame:
    """Reads the rows; an image without a prompt has no row."""
    found = {}
    for name, file in files.items():
        embedded = _read_image(file)
        if embedded is not None:
            found[name] = {
                "prompt": embedded.prompt,
                "seed": _to_number(embedded.seed),
                "step": _to_number(embedded.steps),
                "model": embedded.model or "",
            }
    return _make_rows(found, has_split)


def _read_image(file: pathlib.Path):
    try:
        if file.stat().st_size > _LARGEST:
            return None
        return read_embedded(file.read_bytes())
    except OSError:
        # The image is rejected later, when it is read.
        return None


def _to_number(value: int | None) -> float:
    return float("nan") if value is None else float(value)
