"""Outputs of predict: screen, CSV, JSON Lines, files beside the images."""

import os
import pathlib
import sys
from collections.abc import Iterable, Sequence

from tf_prompt.data import metadata_writer
from tf_prompt.files import ResumableTable, write_whole
from tf_prompt.inference.places import Places, check_copy, sidecar_of
from tf_prompt.options import expand_home, print_json

COLUMNS = ("path", "prompt", "score", "error")


def open_table(
    path: str | pathlib.Path,
    identity: dict,
    as_json: bool = False,
    columns: Sequence[str] = COLUMNS,
) -> ResumableTable:
    """Opens a CSV or JSON Lines file, to be used in a `with` statement.

    After an interruption the same command continues after the rows already written.
    With other options, or if the file was finished, it starts again.

    Args:
        path: file to write.
        identity: JSON-compatible dict of all that the rows depend on, except the image.
        as_json: whether each row is a line of JSON; else the file is CSV.
        columns: columns of the CSV.

    Raises:
        ValueError: if the path is a folder, or its folder does not exist.
    """
    return ResumableTable(
        path, identity, columns, as_json=as_json, parse=_parse, key="path"
    )


def _parse(row: dict) -> dict:
    if not isinstance(row["path"], str) or not row["path"]:
        raise ValueError(f"a row must name a file. Received: {row}")
    return row


def show(result: dict, as_json: bool, command: str = "predict") -> None:
    """Prints a result; in plain text an error goes to stderr."""
    if as_json:
        print_json(result)
        return
    if "prompt" in result:
        fields = [result["path"], _on_one_line(result["prompt"])]
        if "similarity" in result:
            fields.insert(1, f"{result['similarity']:.3f}")
        print("\t".join(fields), flush=True)
    for table, pairs in result.get("phrases", {}).items():
        scored = (f"{phrase} ({score:.3f})" for phrase, score in pairs)
        print(f"    {table}: {', '.join(scored)}", flush=True)
    for name, value in result.get("embedded", {}).items():
        if value is not None and value != result.get("prompt"):
            name, text = name.replace("_", " "), _on_one_line(str(value))
            print(f"    embedded {name}: {text}", flush=True)
    if "error" in result:
        message = f"{command}: error: {result['path']}: {result['error']}"
        print(message, file=sys.stderr)


def _on_one_line(text):
    return " ".join(text.split("\n"))


def write_copy(
    path: str | pathlib.Path,
    folder: str | pathlib.Path,
    prompt: str,
    below: str | pathlib.Path | None = None,
) -> None:
    """Copies an image and writes the prompt into the copy's metadata.

    The copy is written atomically. Only the metadata differ from the original, which
    stays as it is; see `data.metadata_writer` for where the prompt goes.

    Args:
        path: the image.
        folder: folder for the copy; created if needed.
        prompt: the text.
        below: path of the copy in the folder; None takes the image's name.

    Raises:
        OSError: if the image cannot be read, or the copy cannot be written.
        ValueError: if the format cannot hold a prompt, the image is truncated, or the
            copy would replace the original or another file.
    """
    path, folder = pathlib.Path(path), pathlib.Path(folder)
    copy = folder / (below or path.name)
    if copy.exists() and copy.samefile(path):
        raise ValueError(
            f"write_metadata must be another folder than the images'. "
            f"Received: {folder}"
        )
    content = metadata_writer.write_prompt(path.read_bytes(), prompt)
    check_copy(path, copy)
    copy.parent.mkdir(parents=True, exist_ok=True)
    write_whole(copy, content)


def write_beside(result: dict, options, places: Places | None = None) -> dict:
    """Writes the sidecar and the copy of an image, if the options ask for them.

    Args:
        result: result of an image, without an error.
        options: `delivery.DeliveryConfig`.
        places: gives the subfolder of each image; None uses no subfolders.

    Returns:
        The result; also with an `error` if no copy of the image could be written.
    """
    path, prompt = result["path"], result["prompt"]
    if options.sidecar:
        write_whole(sidecar_of(path), f"{prompt}\n".encode())
    if options.write_metadata is not None:
        below = places and places.below(path)
        try:
            write_copy(path, options.write_metadata, prompt, below)
        except ValueError as error:
            return {**result, "error": str(error)}
        except OSError as error:
            reason = f"no copy in {options.write_metadata}: {error.strerror or error}"
            return {**result, "error": reason}
    return result


def read_names(paths: Sequence[str]) -> list[str]:
    """Returns the paths given; `-` stands for the lines of standard input.

    Raises:
        FileNotFoundError: if there is no path.
    """
    named: list[str] = []
    for path in paths:
        lines = _open_stdin() if path == "-" else [path]
        named.extend(expand_home(line.rstrip("\r\n")) for line in lines if line.strip())
    if not named:
        raise FileNotFoundError("PATH must name an image. Received: no line on stdin")
    return named


def _open_stdin() -> Iterable[str]:
    if hasattr(sys.stdin, "reconfigure"):
        # Names are in the file system's encoding, whatever the console's is.
        encoding = sys.getfilesystemencoding()
        sys.stdin.reconfigure(encoding=encoding, errors="surrogateescape")
    return sys.stdin


def without_done(
    paths: Sequence[pathlib.Path], tables: Sequence[ResumableTable]
) -> list[pathlib.Path]:
    """Removes the images that have a row in every table."""
    if not tables:
        return list(paths)
    done = set.intersection(*(table.done for table in tables))
    return [path for path in paths if os.fspath(path) not in done]


def report_failures(
    failed: Sequence[dict], num_files: int, command: str = "predict"
) -> None:
    """Lists the first ten failed files on stderr, if there were several files."""
    if not failed or num_files == 1:
        return
    print(f"{command}: {len(failed)} files failed", file=sys.stderr)
    for result in failed[:10]:
        print(f"  {result['path']}: {result['error']}", file=sys.stderr)
