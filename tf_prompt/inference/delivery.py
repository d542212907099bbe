"""Delivers the results for images to the screen, tables, sidecars and copies."""

import contextlib
import dataclasses
import json
import pathlib
import typing
from collections.abc import Callable, Iterable, Sequence

from tf_prompt.data import listing
from tf_prompt.inference import image_bytes, result_files
from tf_prompt.inference.places import Places, sidecar_of
from tf_prompt.inference.wording import Wording, WordingConfig, load_counter
from tf_prompt.options import DONE, SOME_FAILED, option
from tf_prompt.runs import lock

SHOW, ONLY, OFF = EMBEDDED = ("show", "only", "off")
# Before the name of a table in a CSV.
PHRASES = "phrases_"


def paths_option(metavar: str = "PATH"):
    """Declares the images of a command; there may be none."""
    return option(
        (),
        "image files and folders; - reads paths from standard input, one per line",
        positional=True,
        nargs="*",
        metavar=metavar,
        group="input",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeliveryConfig(WordingConfig):
    """Which images to process, and where to write the results."""

    first_groups: typing.ClassVar = ("input", "model", "output", "wording")

    paths: tuple[str, ...] = paths_option()
    recursive: bool = option(
        False,
        "search subfolders too",
        group="input",
    )
    skip_existing: bool = option(
        False,
        "skip images that have a .txt file beside them",
        group="input",
    )
    embedded: str = option(
        SHOW,
        "what to do with prompts that A1111, ComfyUI and others wrote into the files. "
        "show: print them as a separate field; only: print nothing else, without a "
        "model; off: ignore them",
        choices=list(EMBEDDED),
        group="output",
    )
    json: bool = option(
        False,
        "print one JSON object per image",
        group="output",
    )
    csv: str | None = option(
        None,
        "also write a CSV file, or resume one; the page Batch folders lists its "
        "columns",
        metavar="FILE",
        group="output",
    )
    jsonl: str | None = option(
        None,
        "also write a JSON Lines file, or resume one",
        metavar="FILE",
        group="output",
    )
    sidecar: bool = option(
        False,
        "also write each prompt to a .txt file beside its image",
        group="output",
    )
    write_metadata: str | None = option(
        None,
        "folder for copies of the PNG, JPEG and WebP images with the prompt in their "
        "metadata; subfolders are kept",
        metavar="DIR",
        group="output",
    )

    @property
    def shows_embedded(self) -> bool:
        """Whether results include the prompts in the files' metadata."""
        return self.embedded == SHOW


class Delivery:
    """Delivers the results for images to all outputs that the user asked for.

    Args:
        options: the command's options.
        command: the command's name, for messages.

    Attributes:
        places: `Places`, the output files of each image.
        paths: the images to process.
        is_done: whether every image already has its `.txt`. Then no model needs to be
            loaded, and a table of an earlier run stays as it is.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if files would collide, see `Places`.
    """

    def __init__(self, options: DeliveryConfig, command: str):
        self._options, self._command = options, command
        named = result_files.read_names(options.paths)
        found = listing.find_images(named, options.recursive)
        self.places = Places(found, named, options, command)
        self.paths = self.places.paths
        self.is_done = False
        if options.skip_existing:
            self.paths = [p for p in self.paths if not sidecar_of(p).exists()]
            self.is_done = not self.paths

    def read_embedded(self) -> int:
        """Delivers the prompts in the files' metadata.

        Returns:
            Exit code, as `deliver`.
        """
        wording = Wording(self._options, count=load_counter(self._options))
        identity = {"embedded": ONLY}
        return self.deliver(image_bytes.read_prompts, wording, identity)

    def deliver(
        self,
        describe: Callable[[Sequence[pathlib.Path]], Iterable[dict]],
        wording: Wording,
        identity: dict,
        columns: Sequence[str] = (),
        tables: Iterable[str] = (),
        note: Callable[[dict], object] | None = None,
    ) -> int:
        """Delivers the results for images as they are computed.

        Args:
            describe: function from images to results in the same order, dicts of
                `path` and `prompt`, or of `path` and `error`.
            wording: formats the prompts.
            identity: JSON-compatible dict of all that the results depend on, except
                the wording.
            columns: columns of a CSV file, besides those that every file has.
            tables: names of the tables whose phrases are in the results.
            note: called with each result without an error, before its prompt is
                formatted.

        Returns:
            Exit code: `DONE`, or `SOME_FAILED` if an image could not be described.
        """
        columns = self._columns(columns, tables)
        identity = {**identity, **self._options.wording_identity}
        # As it will be read back: JSON turns tuples into lists.
        identity = json.loads(json.dumps(identity))
        failures = []
        with contextlib.ExitStack() as stack:
            opened = self._open_tables(stack, identity, columns)
            left = result_files.without_done(self.paths, [table for table, _ in opened])
            for result in describe(left):
                if "error" not in result:
                    if note is not None:
                        note(result)
                    result = {**result, "prompt": wording(result)}
                    result = result_files.write_beside(
                        result, self._options, self.places
                    )
                result_files.show(result, self._options.json, self._command)
                if "error" in result:
                    failures.append(result)
                # Last, because a row means that the image is finished.
                for table, as_json in opened:
                    table.add([result if as_json else flatten(result, columns)])
        result_files.report_failures(failures, len(left), self._command)
        return SOME_FAILED if failures else DONE

    def _columns(self, columns, tables):
        names = ["path", "prompt", *columns, "error"]
        names += [f"{PHRASES}{name}" for name in tables]
        if self._options.embedded != OFF:
            names += image_bytes.embedded_names()
        return names

    def _open_tables(self, stack, identity, columns):
        opened = []
        for path, as_json in ((self._options.csv, False), (self._options.jsonl, True)):
            if path is not None:
                stack.enter_context(lock.hold_file(path))
                table = result_files.open_table(path, identity, as_json, columns)
                opened.append((stack.enter_context(table), as_json))
        return opened


def flatten(result: dict, columns: Sequence[str]) -> dict:
    """Converts a result to a row of a CSV file.

    Args:
        result: a result, as `Delivery.deliver` gets it.
        columns: columns of the file.

    Returns:
        dict from column to value; the phrases of a table are joined by semicolons, best
        first.
    """
    row = {name: value for name, value in result.items() if name in columns}
    for name, pairs in result.get("phrases", {}).items():
        row[f"{PHRASES}{name}"] = "; ".join(phrase for phrase, _ in pairs)
    for name, value in result.get("embedded", {}).items():
        row[f"embedded_{name}"] = value
    return {name: value for name, value in row.items() if name in columns}
