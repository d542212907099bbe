"""Where the prompts of files go: screen, CSV, JSON lines, files beside the images."""

import os
import pathlib
import sys
from collections.abc import Iterable, Sequence

from tf_prompt.data import listing
from tf_prompt.files import ResumableTable, replacing, write_whole
from tf_prompt.options import expand_home, print_json
from tf_prompt.runs import lock

COLUMNS = ("path", "prompt", "score", "error")
# `ImageDescription` of EXIF 2.3, and the keyword of PNG 1.2's own list.
_EXIF_DESCRIPTION, _PNG_KEYWORD = 0x010E, "Description"


def open_table(
    path: str | pathlib.Path, identity: dict, as_json: bool = False
) -> ResumableTable:
    """Opens a CSV file or a file of JSON lines, to be used in a `with`.

    The same command, run again after a kill, goes on with the rows that are there;
    other options, or a finished file, begin anew.

    Args:
        path: file to write.
        identity: JSON content, all that the rows depend on besides the image.
        as_json: whether each row is a line of JSON; else the file is CSV.

    Raises:
        ValueError: if the path is a folder or in none.
    """
    return ResumableTable(
        path, identity, COLUMNS, as_json=as_json, parse=_parse, key="path"
    )


def _parse(row: dict) -> dict:
    if not isinstance(row["path"], str) or not row["path"]:
        raise ValueError(f"a row must name a file. Received: {row}")
    return row


def show(result: dict, as_json: bool) -> None:
    """Prints a result; in plain text an error goes to stderr."""
    if as_json:
        print_json(result)
    elif "error" in result:
        message = f"predict: error: {result['path']}: {result['error']}"
        print(message, file=sys.stderr)
    else:
        print(f"{result['path']}\t{result['prompt']}", flush=True)


def sidecar_of(path: str | pathlib.Path) -> pathlib.Path:
    """The text file beside an image that holds its prompt."""
    return pathlib.Path(path).with_suffix(".txt")


def write_copy(path: str | pathlib.Path, folder: str | pathlib.Path, prompt: str):
    """Copies an image and notes the prompt in it; the original stays as it is.

    A PNG gets it as international text `Description`, others as the EXIF field
    `ImageDescription`, in UTF-8. A JPEG is encoded anew with its own tables: pixels
    may change by a little.

    Args:
        path: the image.
        folder: where the copy of the same name goes; made if absent.
        prompt: the text.

    Raises:
        ValueError: if the copy would take the original's place.
    """
    import PIL.Image
    import PIL.PngImagePlugin

    path, folder = pathlib.Path(path), pathlib.Path(folder)
    copy = folder / path.name
    if copy.exists() and copy.samefile(path):
        raise ValueError(
            f"write_metadata must be another folder than the images'. "
            f"Received: {folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with PIL.Image.open(path) as image:
        form = image.format
        if form == "PNG":
            notes = PIL.PngImagePlugin.PngInfo()
            notes.add_itxt(_PNG_KEYWORD, prompt)
            arguments = {"pnginfo": notes}
        else:
            exif = image.getexif()
            # As text Pillow would write ASCII, and a question mark for all else.
            exif[_EXIF_DESCRIPTION] = prompt.encode()
            kept = {"JPEG": {"quality": "keep"}, "WEBP": {"quality": 95}}
            arguments = {"exif": exif, **kept.get(form, {})}
        with replacing(copy) as temporary:
            image.save(temporary, format=form, **arguments)


def open_tables(options, decoding: dict, stack) -> list[ResumableTable]:
    """Opens the tables that `predict.PredictConfig` asks for.

    Args:
        options: of the command.
        decoding: its ways of writing, JSON content.
        stack: `contextlib.ExitStack` that closes the tables.

    Raises:
        ValueError: if a path is a folder or in none, or another process writes it.
    """
    names = ("run_dir", "saved_model", "bank")
    names += ("server", "model", "model_version", "model_label")
    identity = {**decoding, **{name: getattr(options, name) for name in names}}
    wanted = ((options.csv, False), (options.jsonl, True))
    tables = []
    for path, as_json in wanted:
        if path is not None:
            stack.enter_context(lock.hold_file(path))
            tables.append(stack.enter_context(open_table(path, identity, as_json)))
    return tables


def write_beside(result: dict, options, strips=None) -> None:
    """Writes what an image gets beside itself, see `predict.PredictConfig`."""
    path, prompt = result["path"], result["prompt"]
    if options.sidecar:
        write_whole(sidecar_of(path), f"{prompt}\n".encode())
    if options.write_metadata is not None:
        write_copy(path, options.write_metadata, prompt)
    if strips is not None:
        strips.write(path, prompt)


def find_paths(paths: Sequence[str], recursive: bool) -> list[pathlib.Path]:
    """Lists image files as `listing.find_images`; `-` stands for standard input.

    Raises:
        FileNotFoundError: if a path does not exist, or a folder holds no image.
    """
    named: list[str] = []
    for path in paths:
        lines = _open_stdin() if path == "-" else [path]
        named.extend(expand_home(line.rstrip("\r\n")) for line in lines if line.strip())
    if not named:
        raise FileNotFoundError("PATH must name an image. Received: no line on stdin")
    return listing.find_images(named, recursive)


def _open_stdin() -> Iterable[str]:
    if hasattr(sys.stdin, "reconfigure"):
        # Names are in the file system's encoding, whatever the console's is.
        encoding = sys.getfilesystemencoding()
        sys.stdin.reconfigure(encoding=encoding, errors="surrogateescape")
    return sys.stdin


def without_done(
    paths: Sequence[pathlib.Path], tables: Sequence[ResumableTable]
) -> list[pathlib.Path]:
    """Leaves out the images whose rows are in every table."""
    if not tables:
        return list(paths)
    done = set.intersection(*(table.done for table in tables))
    return [path for path in paths if os.fspath(path) not in done]


def report_failures(failed: Sequence[dict], num_files: int) -> None:
    """Says at the end which of several files failed, ten at most, on stderr."""
    if not failed or num_files == 1:
        return
    print(f"predict: {len(failed)} files failed", file=sys.stderr)
    for result in failed[:10]:
        print(f"  {result['path']}: {result['error']}", file=sys.stderr)
