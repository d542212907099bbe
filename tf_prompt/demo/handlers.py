"""From the payload of an upload to what the page shows; needs no Gradio."""

import dataclasses
import itertools
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

from tf_prompt.demo import describing, markup

HINT = "Drop, paste or choose a picture, and its prompt appears here."


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the page shows of one picture.

    Attributes:
        message: HTML above the results; empty if all went well.
        models: of each model its prompt, and HTML of all that it says; none
            without a result.
        phrases: HTML of the interrogator's phrases.
        is_error: whether the message is about a bad file.
    """

    message: str
    models: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    phrases: str = ""
    is_error: bool = False


class Handlers:
    """What the page's events call: payloads of uploads in, HTML out.

    Args:
        describer: says what there is to say.
        folder: where Gradio keeps uploads; no file outside is read.
        max_files: files at most in a batch.
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
            The table so far, and the path of a CSV, None until all is done.
        """
        if not files:
            yield markup.hint("Choose pictures first."), None
            return
        if len(files) > self._max_files:
            message = f"At most {self._max_files} files at once; here are {len(files)}."
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
        # A folder each: the file that visitors save is always called prompts.csv.
        path = pathlib.Path(tempfile.mkdtemp(dir=self._folder)) / "prompts.csv"
        describing.write_csv(rows, names, path)
        yield markup.batch(rows, names, len(files)), str(path)

    def _locate(self, upload):
        path = pathlib.Path(upload.get("path") or "").resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise ValueError(f"{name_of(upload)} is no uploaded file.")
        return path


def tell_apart(names: Sequence[str]) -> list[str]:
    """Numbers names that come again: of two folders, both may have a `1.png`."""
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
    """Gives the name that a visitor's file had, without folders."""
    name = upload.get("orig_name") or upload.get("path") or "the file"
    return pathlib.PurePosixPath(str(name).replace("\\", "/")).name
