"""Where the prompts of files go: screen, CSV, JSON lines, files beside the images."""

import csv
import io
import json
import os
import pathlib
import sys
from collections.abc import Sequence

from tf_prompt.data import images
from tf_prompt.files import write_json, write_whole

COLUMNS = ("path", "prompt", "score", "error")
# `ImageDescription` of EXIF 2.3, and the keyword of PNG 1.2's own list.
_EXIF_DESCRIPTION, _PNG_KEYWORD = 0x010E, "Description"


class ResultTable:
    """A CSV file or a file of JSON lines, written row by row; a context manager.

    Rows go into `NAME.part`, which takes its name at the end. The same command, run
    again after a kill, goes on with the rows that are there; other options, or a
    finished file, begin anew.

    Args:
        path: file to write.
        identity: JSON content, all that the rows depend on besides the image.
        as_json: whether each row is a line of JSON; else the file is CSV.

    Attributes:
        done: paths of the images whose rows are there.

    Raises:
        ValueError: if the path is a folder or in none.
    """

    def __init__(self, path: str | pathlib.Path, identity: dict, as_json: bool = False):
        self._path = pathlib.Path(path)
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise ValueError(
                f"a file of results must be in a folder that exists. Received: {path}"
            )
        self._as_json = as_json
        self._part = self._path.with_name(f"{self._path.name}.part")
        self._identity = self._path.with_name(f"{self._path.name}.part.json")
        # What failed is tried again.
        rows = self._read_part() if self._same(identity) else []
        rows = [row for row in rows if not row.get("error")]
        self.done = {row["path"] for row in rows}
        lines = "".join(map(self._format, [None, *rows]))
        # Of a damaged file, JSON may hold what UTF-8 cannot.
        write_whole(self._part, lines.encode(errors="replace"))
        write_json(self._identity, identity)
        self._file = open(self._part, "a", newline="", encoding="utf-8")

    def add(self, result: dict) -> None:
        """Writes a row, a dict of some of `COLUMNS`, unless it is there."""
        if result["path"] in self.done:
            return
        self._file.write(self._format(result))
        self._file.flush()

    def __enter__(self) -> "ResultTable":
        return self

    def __exit__(self, error, *details) -> None:
        self._file.close()
        if error is None:
            os.replace(self._part, self._path)
            self._identity.unlink()

    def _format(self, row: dict | None) -> str:
        """A line of the file; None gives what stands above all rows."""
        if self._as_json:
            return json.dumps(row, ensure_ascii=False) + "\n" if row else ""
        line = io.StringIO()
        writer = csv.writer(line)
        writer.writerow(COLUMNS if row is None else [row.get(c, "") for c in COLUMNS])
        return line.getvalue()

    def _same(self, identity) -> bool:
        try:
            return json.loads(self._identity.read_text(encoding="utf-8")) == identity
        except (OSError, ValueError):
            return False

    def _read_part(self) -> list[dict]:
        try:
            # Not read_text, which makes other line breaks of those in names.
            text = self._part.read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            return []
        # The last line of a killed run may be cut.
        whole = text[: text.rfind("\n") + 1]
        try:
            if self._as_json:
                # Not splitlines: U+2028 and its like may stand inside a name.
                rows = [json.loads(line) for line in whole.split("\n")[:-1]]
                return [row for row in rows if isinstance(row["path"], str)]
            rows = csv.DictReader(io.StringIO(whole, newline=""))
            return [row for row in rows if row["error"] is not None and row["path"]]
        except (csv.Error, KeyError, RecursionError, TypeError, ValueError):
            # Damaged: everything is done again.
            return []


def show(result: dict, as_json: bool) -> None:
    """Prints a result; in plain text an error goes to stderr."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False), flush=True)
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
    temporary = folder / f"{path.name}.{os.getpid()}.part"
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
        try:
            image.save(temporary, format=form, **arguments)
            os.replace(temporary, copy)
        finally:
            temporary.unlink(missing_ok=True)


def open_tables(options, decoding: dict, stack) -> list[ResultTable]:
    """Opens the tables that `predict.PredictConfig` asks for.

    Args:
        options: of the command.
        decoding: its ways of writing, JSON content.
        stack: `contextlib.ExitStack` that closes the tables.
    """
    names = ("run_dir", "saved_model", "bank")
    names += ("server", "model", "model_version", "model_label")
    identity = {**decoding, **{name: getattr(options, name) for name in names}}
    wanted = ((options.csv, False), (options.jsonl, True))
    return [
        stack.enter_context(ResultTable(path, identity, as_json))
        for path, as_json in wanted
        if path is not None
    ]


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
    """Lists image files as `images.find_images`; `-` stands for standard input.

    Raises:
        FileNotFoundError: if a path does not exist, or a folder holds no image.
    """
    named: list[str] = []
    for path in paths:
        lines = sys.stdin if path == "-" else [path]
        named.extend(line.rstrip("\r\n") for line in lines if line.strip())
    if not named:
        raise FileNotFoundError("PATH must name an image. Received: no line on stdin")
    return images.find_images(named, recursive)


def without_done(
    paths: Sequence[pathlib.Path], tables: Sequence[ResultTable]
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
