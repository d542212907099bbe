"""Which files of a folder are images: the one listing of all commands."""

import os
import pathlib
from collections.abc import Iterable

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp")
# Image files that TensorFlow cannot read: named as failures, not passed over.
FOREIGN_SUFFIXES = (".heic", ".heif", ".avif", ".tif", ".tiff", ".jxl")


def find_images(
    paths: Iterable[str | os.PathLike], recursive: bool = False
) -> list[pathlib.Path]:
    """Lists the image files among files and in folders, in order of name.

    Args:
        paths: files, taken as they are, and folders, of whose files those that
            `has_image_ending` holds for are taken.
        recursive: whether folders inside folders are searched too.

    Returns:
        Paths of files.

    Raises:
        FileNotFoundError: if a path does not exist, or a folder holds no image.
        OSError: if a folder cannot be read.
    """
    found = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            images = list(filter(has_image_ending, list_files(path, recursive)))
            if not images:
                raise FileNotFoundError(
                    f"PATH must hold images ({' '.join(SUFFIXES)}). Received: {path}"
                )
            found.extend(images)
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(
                f"PATH must be a file or a folder. Received: {path}"
            )
    return found


def list_files(
    folder: str | os.PathLike, recursive: bool = False
) -> list[pathlib.Path]:
    """Lists the files in a folder, in order of name; never what is hidden.

    A link counts as what it leads to; one that leads nowhere is listed, so that
    reading it fails and names it.

    Args:
        folder: where they are.
        recursive: whether folders inside folders are searched too; links to folders
            are not.

    Raises:
        OSError: if a folder cannot be read: its images would be passed over.
    """

    def refuse(error):
        raise error

    found = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not is_hidden(name)]
        paths = [pathlib.Path(root, name) for name in names if not is_hidden(name)]
        found.extend(path for path in paths if path.is_file() or not path.exists())
    return sorted(found)


def has_image_ending(path: pathlib.PurePath) -> bool:
    """Whether a file's name is that of an image, of any kind, in either case."""
    return path.suffix.lower() in SUFFIXES + FOREIGN_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, as macOS's `._0.png` is."""
    return name.startswith(".") and name not in (".", "..")
