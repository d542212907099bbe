"""Handlers of the page's events, independent of Gradio."""

import dataclasses
import itertools
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

from tf_prompt.demo import describing, markup

HINT = "Drop, paste or choose an image, and its prompt appears here."


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the page shows for one image.

    Attributes:
        message: HTML above the results; empty on success.
        models: for each model its prompt, and HTML of all its results; empty without
            results.
        phrases: HTML of the interrogator's phrases.
        is_error: whether the message is about a bad file.
    """

    message: str
    models: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    phrases: str = ""
    is_error: bool = False


class Handlers:
    """Handlers of events: payloads of uploads in, HTML out.

    Args:
        describer: computes the results.
        folder: Gradio's folder of uploads; no file outside of it is read.
        max_files: largest number of files in a batch.
    """

    def __init__(
        self, describer: describing.Describer, folder: str | pathlib.Path, max_files=100
    ):
        self._describer, self._max_files = describer, max_files
        self._folder = pathlib.Path(folder).resolve()

    def show(self, upload: dict | None) -> Shown:
        """Describes one upload.

        Args:
            upload: Gradio's payload with `path` and `orig_name`; None if removed.
        """
        if upload is None:
            return Shown(markup.hint(HINT))
        try:
            data = self._locate(upload).read_bytes()
            found = self._describer.describe(data, name_of(upload))
        except ValueError as error:
            return Shown(markup.error(str(error)), is_error=True)
        models = [
            (result.prompts[0][0], markup.written(result)) for result in found.written
        ]
        ranked = found.interrogated
        return Shown("", models, markup.phrases(ranked.phrases) if ranked else "")

    def write_batch(self, files: Sequence[dict] | None) -> Iterator[tuple]:
        """Writes the prompts of uploads.

        Args:
            files: Gradio's payloads.

        Yields:
            The table so far, and the path of a CSV file, None until all is done.
        """
        if not files:
            yield markup.hint("Choose images first."), None
            return
        if len(files) > self._max_files:
            message = f"At most {self._max_files} files at once, not {len(files)}."
            yield markup.error(message), None
            return
        try:
            names = tell_apart([name_of(file) for file in files])
            contents = [self._locate(file).read_bytes for file in files]
            sources = list(zip(names, contents, strict=True))
        except ValueError as error:
            yield markup.error(str(error)), None
            return
        names, rows = self._describer.names, []
        for part in self._describer.write(sources):
            rows += part
            yield markup.batch(rows, names, len(files)), None
        # In its own folder, because the file that visitors save is called prompts.csv.
        path = pathlib.Path(tempfile.mkdtemp(dir=self._folder)) / "prompts.csv"
        describing.write_csv(rows, names, path)
        yield markup.batch(rows, names, len(files)), str(path)

    def _locate(self, upload):
        path = pathlib.Path(upload.get("path") or "").resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise ValueError(f"{name_of(upload)} is not an uploaded file.")
        return path


def tell_apart(names: Sequence[str]) -> list[str]:
    """Numbers repeated names, such as `1.png` from two folders."""
    told: list[str] = []
    taken = set(names)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            numbered = (f"{name} ({number})" for number in itertools.count(2))
            name = next(new for new in numbered if new not in taken)
            taken.add(name)
        seen.add(name)
        told.append(name)
    return told


def name_of(upload: dict) -> str:
    """Returns the original name of a visitor's file, without folders."""
    name = upload.get("orig_name") or upload.get("path") or "the file"
    return pathlib.PurePosixPath(str(name).replace("\\", "/")).name
