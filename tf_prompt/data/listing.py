"""Lists the images in folders, for all commands."""

import os
import pathlib
from collections.abc import Iterable

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp")
# Image files that TensorFlow cannot read: reported as failures, not skipped.
FOREIGN_SUFFIXES = (".heic", ".heif", ".avif", ".tif", ".tiff", ".jxl")


def find_images(
    paths: Iterable[str | os.PathLike], recursive: bool = False
) -> list[pathlib.Path]:
    """Lists files, and the image files in folders, in order of name.

    Args:
        paths: files, which are taken as they are, and folders, of which the files
            with an image extension are taken.
        recursive: whether to search subfolders.

    Returns:
        list of paths of files.

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
    """Lists the files in a folder, in order of name, without hidden ones.

    Links count as their targets; broken links are listed, so that reading them fails
    and names them.

    Args:
        folder: the folder.
        recursive: whether to search subfolders; links to folders are not followed.

    Raises:
        OSError: if a folder cannot be read, since its images would be missed.
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
    """Whether a file has the extension of an image of any kind, in any case."""
    return path.suffix.lower() in SUFFIXES + FOREIGN_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, as macOS's `._0.png` is."""
    return name.startswith(".") and name not in (".", "..")
