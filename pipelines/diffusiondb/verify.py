"""Checks whether an archive or a parquet file is complete."""

import errno
import hashlib
import pathlib
import zipfile

from pipelines.damage import DAMAGE_ERRORS

_PARQUET_MAGIC = b"PAR1"
# The magic number, the footer's length in four bytes, the magic number again.
_PARQUET_LEAST = 12


class CorruptFile(Exception):
    """A file whose content is damaged; the message says how."""


def verify_file(path: pathlib.Path, suffix: str) -> str:
    """Checks the content of a file.

    Args:
        path: the file, under any name.
        suffix: `.zip`, to check the CRC of every member, or `.parquet`, to check the
            magic numbers and the footer's length.

    Returns:
        The SHA-256 of the file, in hexadecimal.

    Raises:
        CorruptFile: if the file is damaged, or of another kind.
        OSError: if it cannot be read.
    """
    if suffix == ".zip":
        _check_zip(path)
    else:
        _check_parquet(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_zip(path: pathlib.Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except DAMAGE_ERRORS as error:
        raise CorruptFile(f"not a whole zip archive: {error}") from error
    except OSError as error:
        # Not an error of the disk: a wrong offset, or a damaged bzip2 stream.
        if error.errno in (errno.EINVAL, None):
            raise CorruptFile(f"not a whole zip archive: {error}") from error
        raise
    if damaged is not None:
        raise CorruptFile(f"not a whole zip archive: wrong CRC of {damaged}")


def _check_parquet(path: pathlib.Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(_PARQUET_MAGIC))
        file.seek(max(0, size - 8))
        tail = file.read()
    footer_size = int.from_bytes(tail[:4], "little")
    framed = head == tail[4:] == _PARQUET_MAGIC
    if not framed or footer_size + _PARQUET_LEAST > size:
        raise CorruptFile("not a whole parquet file")
