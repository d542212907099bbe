"""Chooses and checks the output files of each image before the work starts."""

import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence

from tf_prompt.data import listing, metadata_writer


class Places:
    """The images of a command, and the subfolder of each.

    Args:
        paths: the images, from `listing.find_images`.
        named: files and folders as the user named them.
        options: `delivery.DeliveryConfig`, or `predict.PredictConfig`.
        command: the command's name, for messages.

    Attributes:
        paths: the images, without those in folders that the command itself fills.

    Raises:
        ValueError: if two images would share an output file, or a file that this
            command did not write would be replaced; the message names them.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        named: Iterable[str],
        options,
        command: str = "predict",
    ):
        folders = [pathlib.Path(name) for name in named if os.path.isdir(name)]
        outputs = [options.write_metadata, getattr(options, "attention", None)]
        self.paths = _leave_out(paths, folders, filter(None, outputs), command)
        self._below = {
            os.fspath(path): _find_below(path, folders) for path in self.paths
        }
        if options.sidecar or options.skip_existing:
            name = "sidecar" if options.sidecar else "skip_existing"
            _require_own(name, self.paths, sidecar_of, "rename one")
        if options.write_metadata is not None:
            self._check_copies(pathlib.Path(options.write_metadata))

    def below(self, path: str | os.PathLike) -> pathlib.Path:
        """Path of an image relative to the folder it was found in; else its name."""
        path = os.fspath(path)
        return self._below.get(path, pathlib.Path(pathlib.Path(path).name))

    def _check_copies(self, folder):
        def copy_of(path):
            return folder / self.below(path)

        advice = "give the folder above both with --recursive, or write one elsewhere"
        _require_own("write_metadata", self.paths, copy_of, advice)
        originals = {os.path.realpath(path) for path in self.paths}
        for path in self.paths:
            copy = copy_of(path)
            if os.path.realpath(copy) in originals:
                raise ValueError(
                    "write_metadata must be another folder than the images'. "
                    f"Received: {folder}"
                )
            check_copy(path, copy)


def sidecar_of(path: str | pathlib.Path) -> pathlib.Path:
    """The text file beside an image that holds its prompt."""
    return pathlib.Path(path).with_suffix(".txt")


def check_copy(path: pathlib.Path, copy: pathlib.Path) -> None:
    """Checks that a copy would replace nothing but an earlier copy.

    Args:
        path: the image.
        copy: the file to write.

    Raises:
        ValueError: if the file exists and is not a copy of the image.
    """
    if not copy.exists():
        return
    try:
        bare = metadata_writer.without_prompt(path.read_bytes())
    except (OSError, ValueError):
        # No copy of it will be written; the reason is reported with the image.
        return
    try:
        if metadata_writer.without_prompt(copy.read_bytes()) == bare:
            return
    except (OSError, ValueError):
        pass
    raise ValueError(
        "write_metadata must not replace files that are not copies of these images. "
        f"Received: {copy}; move it away, or give another folder"
    )


def _find_below(path, folders) -> pathlib.Path:
    for folder in folders:
        if path.is_relative_to(folder):
            below = path.relative_to(folder)
            # `../a.png` counts as relative to `.`, but does not lie below it.
            if ".." not in below.parts:
                return below
    return pathlib.Path(path.name)


def _leave_out(paths, folders, outputs, command) -> list[pathlib.Path]:
    """Leaves out what an earlier run wrote into a folder inside a searched one."""
    kept = list(paths)
    searched = [pathlib.Path(os.path.realpath(folder)) for folder in folders]
    for output in outputs:
        own = pathlib.Path(os.path.realpath(output))
        if not any(own != folder and own.is_relative_to(folder) for folder in searched):
            continue
        before = len(kept)
        kept = [
            path
            for path in kept
            if not pathlib.Path(os.path.realpath(path)).is_relative_to(own)
        ]
        if len(kept) < before:
            print(
                f"{command}: {before - len(kept)} images in {output} are skipped, "
                "because results are written there",
                file=sys.stderr,
            )
    return kept


def _require_own(
    name: str,
    paths: Sequence[pathlib.Path],
    place_of: Callable[[pathlib.Path], pathlib.Path],
    advice: str,
) -> None:
    """Checks that no two images have the same output file."""
    owners: dict[str, str] = {}
    for path in paths:
        # These never get an output file.
        if path.suffix.lower() in listing.FOREIGN_SUFFIXES:
            continue
        place = place_of(path)
        own, key = os.path.abspath(path), os.path.normcase(os.path.abspath(place))
        if owners.setdefault(key, own) != own:
            first = next(p for p in paths if os.path.abspath(p) == owners[key])
            raise ValueError(
                f"{name} must give each image a file of its own. Received: {first} "
                f"and {path}, both {place}; {advice}"
            )
