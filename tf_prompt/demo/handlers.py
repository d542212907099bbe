"""Handles the page's events, from uploads to HTML; does not need Gradio."""

import dataclasses
import itertools
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

from tf_prompt.demo import batch_files, describing, markup, wording_form

HINT = "Drop, paste or choose a picture, and its prompt appears here."
WAIT = "CLIP is still reading its phrases; your picture is next."


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the page shows of one image.

    Attributes:
        message: HTML above the results; empty if all went well.
        models: for each model its formatted prompt, and HTML of its results; empty
            without results.
        phrases: HTML of the interrogator's phrases.
        embedded: HTML of the file's own metadata; may be empty.
        results: the results of each model, for `reword`.
        is_error: whether the message is about a bad file.
    """

    message: str
    models: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    phrases: str = ""
    embedded: str = ""
    results: list[dict] = dataclasses.field(default_factory=list)
    is_error: bool = False


class Handlers:
    """The functions of the page's events: payloads of uploads in, HTML out.

    Args:
        describer: `Describer`.
        folder: Gradio's folder of uploads; no file outside of it is read.
        max_files: maximum number of files in a batch.

    Attributes:
        fields: fields of the form for the wording of prompts. Methods take its values
            in the same order; without values prompts stay as written.
    """

    def __init__(
        self, describer: describing.Describer, folder: str | pathlib.Path, max_files=100
    ):
        self._describer, self._max_files = describer, max_files
        self._folder = pathlib.Path(folder).resolve()
        self.fields = list(wording_form.FIELDS)
        if all(model.count for model in describer.models):
            self.fields.append(wording_form.MAX_TOKENS)

    def show(self, upload: dict | None, values: Sequence = ()) -> Shown:
        """Describes one upload.

        Args:
            upload: Gradio's payload with `path` and `orig_name`; None if removed.
            values: values of the form.
        """
        if upload is None:
            return Shown(markup.hint(HINT))
        try:
            data = self._locate(upload).read_bytes()
            found = self._describer.describe(data, name_of(upload))
        except ValueError as error:
            return Shown(markup.error(str(error)), is_error=True)
        message, prompts = self.reword(found.results, values)
        parts = map(markup.written, found.written)
        ranked = found.interrogated
        return Shown(
            message,
            list(zip(prompts, parts, strict=True)),
            markup.phrases(ranked.phrases) if ranked else "",
            markup.embedded(found.embedded) if found.embedded else "",
            found.results,
        )

    def reword(
        self, results: Sequence[dict], values: Sequence
    ) -> tuple[str, list[str]]:
        """Formats the prompts of an image again.

        Args:
            results: `results` of `Shown`.
            values: values of the form.

        Returns:
            HTML of an error in the form, or "", and the formatted prompts; with an
            error, the prompts as the models wrote them.
        """
        try:
            wordings = self._wordings(values)
        except ValueError as error:
            return markup.error(str(error)), [row["prompt"] for row in results]
        worded = zip(wordings, results, strict=False)
        return "", [wording(row) for wording, row in worded]

    def _wordings(self, values):
        values = values or [field.default for field in self.fields]
        config = wording_form.read_form(self.fields, values)
        return self._describer.wordings(config)

    def write_batch(
        self, files: Sequence[dict] | None, values: Sequence = ()
    ) -> Iterator[tuple]:
        """Writes the prompts of uploads.

        Args:
            files: Gradio's payloads.
            values: values of the form.

        Yields:
            The table so far, and the paths of CSV, JSON Lines and ZIP; None until the
            batch is done.
        """
        try:
            names, reads = self._check(files)
            wordings = self._wordings(values)
        except ValueError as error:
            yield markup.error(str(error)), None
            return
        models, rows = self._describer.names, []
        for part in self._describer.write(list(zip(names, reads, strict=True))):
            rows += [_reword_row(row, wordings) for row in part]
            yield markup.batch(rows, models, len(names)), None
        yield markup.batch(rows, models, len(names)), self._write(rows, reads)

    def _check(self, files):
        if not files:
            raise ValueError("Choose pictures first.")
        if len(files) > self._max_files:
            raise ValueError(
                f"At most {self._max_files} files at once; here are {len(files)}."
            )
        names = tell_apart([name_of(file) for file in files])
        return names, [self._locate(file).read_bytes for file in files]

    def _write(self, rows, reads) -> list[str]:
        # One folder per batch, because the files to save always have the same names.
        folder = tempfile.mkdtemp(dir=self._folder)
        models = self._describer.models
        columns = batch_files.columns_of(
            [model.score_field for model in models],
            [name for model in models for name in model.tables],
        )
        names = self._describer.names
        paths = batch_files.write_tables(rows, names, columns, folder)
        paths.append(batch_files.write_archive(rows, names, reads, folder))
        return [str(path) for path in paths]

    def _locate(self, upload):
        path = pathlib.Path(upload.get("path") or "").resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise ValueError(f"{name_of(upload)} is not an uploaded file.")
        return path


def _reword_row(row, wordings):
    results = [
        {**result, "prompt": wording(result)}
        for wording, result in zip(wordings, row.results, strict=False)
    ]
    return dataclasses.replace(row, results=results)


def tell_apart(names: Sequence[str]) -> list[str]:
    """Numbers repeated names, since files from two folders may have the same name."""
    told: list[str] = []
    taken = set(names)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            path = pathlib.PurePosixPath(name)
            numbers = itertools.count(2)
            numbered = (f"{path.stem} ({number}){path.suffix}" for number in numbers)
            name = next(new for new in numbered if new not in taken)
            taken.add(name)
        seen.add(name)
        told.append(name)
    return told


def name_of(upload: dict) -> str:
    """Returns the name of a visitor's file, without folders."""
    name = upload.get("orig_name") or upload.get("path") or "the file"
    return pathlib.PurePosixPath(str(name).replace("\\", "/")).name
