"""Parquet files with the bytes of images, read a few rows at a time."""

import functools
import io
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import IO

import pandas as pd

from pipelines.containers import MAX_MEMBER_SIZE
from pipelines.fields import (
    IMAGE_COLUMNS,
    PROMPT_COLUMNS,
    ColumnNames,
    find_column,
    pick_fields,
    to_text,
    wanted_columns,
)
from pipelines.parts import PART_SIZE, Part, PartList

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None

HOLDS = "parquet files with a column of image bytes, as Hugging Face has them"
# Number of images in memory at once.
_BATCH_SIZE = 16


def recognise(path: pathlib.Path) -> bool:
    """Whether there are parquet files, the first of which has image bytes."""
    files = list_files(path)
    if not files or pyarrow is None:
        return bool(files)
    try:
        schema = pyarrow.parquet.read_schema(files[0])
    except (pyarrow.ArrowException, OSError):
        return path.is_file()
    return path.is_file() or any(holds_bytes(field.type) for field in schema)


def list_files(path: pathlib.Path) -> list[pathlib.Path]:
    """Lists parquet files: the file itself, or all in a folder and its subfolders."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return sorted(p for p in path.rglob("*.parquet") if not p.name.startswith("."))


def holds_bytes(kind) -> bool:
    """Whether a pyarrow type is that of images: bytes, or a struct with bytes."""
    if pyarrow.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def open_source(
    path: pathlib.Path, columns: ColumnNames, name: str = "parquet"
) -> PartList:
    """Opens one file or a folder of files; a part is a few row groups of one file.

    Args:
        path: a file or a folder.
        columns: names that the user gave.
        name: name of the source.

    Raises:
        ValueError: if pyarrow is not installed, a file is broken, or it lacks a
            column of images or prompts.
    """
    if pyarrow is None:
        raise ValueError('parquet needs an extra: pip install "tf_prompt[ingest]"')
    files = list_files(path)
    if not files:
        raise ValueError(f"source must be {HOLDS}. Received: {path}")
    root = path if path.is_dir() else path.parent
    planned = []
    for file in files:
        placed = columns.at(file.relative_to(root))
        planned += [(file, groups, placed) for groups in _plan_groups(file, placed)]
    list_parts = functools.partial(_list_parts, root, planned)
    return PartList(name, list_parts, len(planned))


def _plan_groups(file, columns) -> Iterator[tuple[int, ...]]:
    """Yields row groups that together have about as many rows as a part."""
    with _open_file(file) as opened:
        _find_columns(opened.schema_arrow, file, columns)
        groups: list[int] = []
        num_rows = 0
        for group in range(opened.num_row_groups):
            groups.append(group)
            num_rows += opened.metadata.row_group(group).num_rows
            if num_rows >= PART_SIZE:
                yield tuple(groups)
                groups, num_rows = [], 0
        if num_rows:
            yield tuple(groups)


def _open_file(file):
    try:
        # Otherwise a whole column of a row group would be in memory.
        return pyarrow.parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(
            f"source must be whole parquet files. Received: {file} ({error})"
        ) from error


def _find_columns(schema, file, columns: ColumnNames) -> tuple[str, str]:
    images = [field.name for field in schema if holds_bytes(field.type)]
    image = find_column(images, columns.image, [*IMAGE_COLUMNS, *images[:1]])
    prompt = find_column(schema.names, columns.prompt, PROMPT_COLUMNS)
    for found, given, flag, known in (
        (image, columns.image, "image", "of image bytes"),
        (prompt, columns.prompt, "prompt", ", ".join(PROMPT_COLUMNS)),
    ):
        if found is None:
            raise ValueError(
                f"a parquet file must have a column {given or known}; --{flag}-column "
                f"names another. Received: {file} with {', '.join(schema.names)}"
            )
    return image, prompt


def _list_parts(root, planned) -> Iterator[Part]:
    for index, (file, groups, columns) in enumerate(planned):
        name = file.relative_to(root).as_posix()
        yield Part(
            index=index,
            name=f"{name} row groups {groups[0] + 1}-{groups[-1] + 1}",
            size=file.stat().st_size,
            rows=None,
            opener=functools.partial(ParquetImages, file, groups, columns, name),
        )


class ParquetImages:
    """The images of some row groups, with the interface of `parts.Images`.

    If they are requested in order, each is read once. Images keep the names in the
    file if these are unique; otherwise they are numbered.

    Args:
        file: the parquet file.
        groups: consecutive numbers of row groups.
        columns: names that the user gave.
        label: prefix of numbered names.

    Raises:
        ValueError: if the file is broken.
    """

    def __init__(
        self,
        file: pathlib.Path,
        groups: Sequence[int],
        columns: ColumnNames,
        label: str,
    ):
        self._file, self._groups, self._columns = _open_file(file), groups, columns
        self._label = label
        self._image, self._prompt = _find_columns(
            self._file.schema_arrow, file, columns
        )
        self._first = sum(
            self._file.metadata.row_group(group).num_rows for group in range(groups[0])
        )
        kind = self._file.schema_arrow.field(self._image).type
        self._is_struct = pyarrow.types.is_struct(kind)
        fields = [field.name for field in kind] if self._is_struct else []
        self._has_path = "path" in fields
        self._place_of = {name: i for i, name in enumerate(self._read_names())}
        self._batches, self._next = iter(()), 0
        self._held: dict[int, bytes | None] = {}

    def __enter__(self) -> "ParquetImages":
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    @property
    def names(self) -> Collection[str]:
        """Names of the images."""
        return self._place_of.keys()

    def is_safe(self, name: str) -> bool:
        """Whether an image may be read: always, because it is not a file."""
        return True

    def open(self, name: str) -> IO[bytes]:
        """Opens one encoded image."""
        return io.BytesIO(self.read(name))

    def read(self, name: str) -> bytes:
        """Reads one encoded image.

        Raises:
            ValueError: if it has no bytes, or too many.
        """
        place = self._place_of[name]
        if place < self._next and place not in self._held:
            self._next, self._held = 0, {}
        if not self._next:
            column = f"{self._image}.bytes" if self._is_struct else self._image
            self._batches = self._iterate([column], _BATCH_SIZE)
        while place not in self._held:
            images = self._unpack(next(self._batches), "bytes")
            self._held = dict(enumerate(images, self._next))
            self._next += len(images)
        data = self._held[place]
        if data is None or len(data) > MAX_MEMBER_SIZE:
            raise ValueError(f"an image must be there and small. Received: {name}")
        return data

    def read_rows(self) -> pd.DataFrame:
        """Reads the rows, without the images."""
        names = self._file.schema_arrow.names
        wanted = [self._prompt, *wanted_columns(names, self._columns)]
        wanted = [name for name in dict.fromkeys(wanted) if name != self._image]
        batches = list(self._iterate(wanted, PART_SIZE))
        table = pyarrow.Table.from_batches(batches)
        table.validate(full=True)
        # Without pandas' own metadata in the file, which may be damaged.
        table = table.replace_schema_metadata().to_pandas()
        rows = pd.DataFrame({"image_name": list(self.names)}, dtype=str)
        rows["prompt"] = [to_text(prompt) for prompt in table[self._prompt]]
        return rows.join(pick_fields(table, self._columns))

    def _read_names(self) -> list[str]:
        count = sum(self._file.metadata.row_group(g).num_rows for g in self._groups)
        numbered = [f"{self._label}/{self._first + i:06d}" for i in range(count)]
        if not self._has_path:
            return numbered
        batches = self._iterate([f"{self._image}.path"], PART_SIZE)
        paths = [p for batch in batches for p in self._unpack(batch, "path")]
        return paths if all(paths) and len(set(paths)) == count else numbered

    def _iterate(self, columns, batch_size):
        return self._file.iter_batches(
            batch_size, row_groups=list(self._groups), columns=columns
        )

    def _unpack(self, batch, field) -> list:
        column = batch.column(0)
        column = column.field(field) if self._is_struct else column
        return column.to_pylist()
