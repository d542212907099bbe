"""The images and texts of one tar, found in one pass over its headers."""

import gzip
import io
import json
import pathlib
import re
import tarfile
from collections.abc import Collection, Iterator
from typing import IO

import pandas as pd

from pipelines.containers import MAX_MEMBER_SIZE
from pipelines.fields import (
    PROMPT_COLUMNS,
    ColumnNames,
    decode_text,
    find_column,
    make_table,
    pick_fields,
    to_text,
)
from tf_prompt.data import listing

_TEXTS = ("txt", "caption", "text", "prompt")
_IMAGES = listing.SUFFIXES + listing.FOREIGN_SUFFIXES
# Folders and name up to the first dot; the rest distinguishes members of a sample.
_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
# Bytes of a text; a longer one is not a prompt.
_LONGEST = 2**20
_BLOCK = 512


class TarImages:
    """The images of one tar, with the interface of `parts.Images`.

    Texts are read at once, images on request; nothing is extracted. A compressed tar
    is decompressed again if images are requested out of order.

    Args:
        file: a tar, compressed with gzip or not.
        columns: names that the user gave, of fields of the JSON or file extensions.

    Raises:
        tarfile.ReadError: if the file is not a tar, or truncated.
    """

    def __init__(self, file: pathlib.Path, columns: ColumnNames):
        self._columns = columns
        self._members: dict[str, tuple[int, int, bool]] = {}
        self._texts: dict[str, dict] = {}
        self._image_of: dict[str, str] = {}
        is_packed = file.name.lower().endswith("gz")
        self._stream = gzip.open(file) if is_packed else open(file, "rb")
        try:
            for member in _iterate(self._stream):
                self._take(member)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> "TarImages":
        return self

    def __exit__(self, *error) -> None:
        self._stream.close()

    @property
    def names(self) -> Collection[str]:
        """Names of the images, which are those of the members."""
        return self._members.keys()

    def is_safe(self, name: str) -> bool:
        """Whether an image may be read: a plain file inside, of a reasonable size."""
        return self._members[name][2]

    def open(self, name: str) -> IO[bytes]:
        """Opens one encoded image."""
        return io.BytesIO(self.read(name))

    def read(self, name: str) -> bytes:
        """Reads one encoded image.

        Raises:
            EOFError: if the tar ends within the image.
        """
        offset, size, _ = self._members[name]
        self._stream.seek(offset)
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError(f"{name} ends early")
        return data

    def read_rows(self) -> pd.DataFrame:
        """Reads the samples that have a prompt, in the order of the tar."""
        names, prompts, found = [], [], []
        for key, texts in self._texts.items():
            prompt = self._find_prompt(texts)
            if prompt is not None:
                names.append(self._image_of.get(key, key))
                prompts.append(to_text(prompt))
                found.append(texts.get("json", {}))
        rows = pd.DataFrame({"image_name": names, "prompt": prompts}, dtype=str)
        return rows.join(pick_fields(make_table(found, self._columns), self._columns))

    def _take(self, member: tarfile.TarInfo) -> None:
        match = _KEY.fullmatch(member.name)
        if not match or member.isdir():
            return
        key, ending = match[1], match[2].lower()
        if self._is_image(ending):
            self._texts.setdefault(key, {})
            # Only the first of several images of a sample.
            if self._image_of.setdefault(key, member.name) == member.name:
                place = (member.offset_data, member.size, _is_safe(member))
                self._members[member.name] = place
        elif ending == "json" or ending in (*_TEXTS, self._columns.prompt):
            if member.isreg() and member.size <= _LONGEST:
                content = self._stream.read(member.size)
                self._texts.setdefault(key, {})[ending] = _read_text(content, ending)

    def _is_image(self, ending: str) -> bool:
        if self._columns.image is not None:
            return ending == self._columns.image
        return f".{ending}".endswith(_IMAGES)

    def _find_prompt(self, texts: dict):
        given = self._columns.prompt
        if found := find_column([n for n in texts if n != "json"], given, _TEXTS):
            return texts[found]
        fields = texts.get("json", {})
        return fields.get(find_column(list(fields), given, PROMPT_COLUMNS))


def _iterate(stream: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Yields the members, with the stream at the beginning of each member's data."""
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            stream.seek(member.offset_data)
            yield member
            # tarfile would keep all of them.
            tar.members = []
        # tarfile stops silently at a damaged or truncated header.
        stream.seek(tar.offset)
        if any(stream.read(_BLOCK) or b"cut"):
            raise tarfile.ReadError("a tar must be whole")


def _read_text(content: bytes, ending: str):
    if ending != "json":
        return decode_text(content).strip()
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _is_safe(member: tarfile.TarInfo) -> bool:
    path = pathlib.PurePosixPath(member.name.replace("\\", "/"))
    inside = not path.is_absolute() and ".." not in path.parts
    # A sparse file consists of pieces, which one offset cannot describe.
    plain = member.isreg() and not member.issparse()
    return plain and inside and member.size <= MAX_MEMBER_SIZE
