"""From an uploaded file to all that the page shows of it."""

import csv
import dataclasses
import functools
import os
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from tf_prompt.data import folder as data_folder
from tf_prompt.data import images
from tf_prompt.demo import uploads, writers
from tf_prompt.inference import bank
from tf_prompt.inference import interrogator as inference_interrogator
from tf_prompt.inference.loading import BANK_CACHE, load_member
from tf_prompt.interrogation.interrogator import Interrogated, Interrogator, Options
from tf_prompt.metrics import prompt_embedder
from tf_prompt.models import presets
from tf_prompt.runs import folder as run_folder
from tf_prompt.serving.saved_model import SavedPromptWriter

BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Description:
    """All that is said of a picture.

    Attributes:
        written: what each model says, in the order of `Describer.names`.
        interrogated: phrases by table; None without an interrogator.
    """

    written: list[writers.Written]
    interrogated: Interrogated | None = None


@dataclasses.dataclass(frozen=True)
class BatchRow:
    """One file of a batch.

    Attributes:
        name: the file's name.
        prompts: the best prompt of each model and its score; empty for a bad file.
        error: what is wrong with the file.
    """

    name: str
    prompts: list[writers.Scored]
    error: str | None = None


class Describer:
    """Turns files into all results; one caller at a time, the others wait.

    Args:
        models: `writers.Writer`s, at least one.
        interrogator: ranks phrases; None leaves them out.
    """

    def __init__(
        self,
        models: Sequence[writers.Writer],
        interrogator: Interrogator | None = None,
    ):
        self.names = [model.name for model in models]
        self._models, self._interrogator = list(models), interrogator
        # Keras promises nothing to threads.
        self._lock = threading.Lock()

    @property
    def has_interrogator(self) -> bool:
        """Whether phrases are ranked."""
        return self._interrogator is not None

    def describe(self, data: bytes, name: str) -> Description:
        """Says all of one file.

        Args:
            data: content of the file.
            name: its name, for messages.

        Raises:
            ValueError: if it is no picture; the message is for the visitor.
        """
        uploads.check_picture(data, name)
        with self._lock:
            written = [model.describe(data) for model in self._models]
            if self._interrogator is None:
                return Description(written)
            size = self._interrogator.model.image_size
            picture = images.decode_image(data, size).numpy()
            return Description(written, self._interrogator(picture[None])[0])

    def write(
        self, files: Sequence[tuple[str, Callable[[], bytes]]]
    ) -> Iterator[list[BatchRow]]:
        """Writes the prompts of many files; a bad one costs nobody else.

        Args:
            files: name of each, and a function that reads it.

        Yields:
            The rows of the next files, in their order.
        """
        for start in range(0, len(files), BATCH_SIZE):
            yield self._write_batch(files[start : start + BATCH_SIZE])

    def _write_batch(self, files):
        sound, errors = {}, {}
        for index, (name, read) in enumerate(files):
            try:
                data = read()
                uploads.check_picture(data, name)
                sound[index] = data
            except OSError as error:
                errors[index] = f"{name}: {error.strerror or error}"
            except ValueError as error:
                errors[index] = str(error)
        best = {}
        if sound:
            with self._lock:
                found = [model.write(list(sound.values())) for model in self._models]
            for row, index in enumerate(sound):
                best[index] = [prompts[row][0] for prompts in found]
        return [
            BatchRow(name, best.get(index, []), errors.get(index))
            for index, (name, _) in enumerate(files)
        ]


def write_csv(
    rows: Sequence[BatchRow], names: Sequence[str], path: str | pathlib.Path
) -> None:
    """Writes a batch in the columns of `predict --csv`, a line an image and model.

    Args:
        rows: of `Describer.write`.
        names: of the models; of several a column says which wrote.
        path: the file.
    """
    several = len(names) > 1
    columns = ["path", *["model"] * several, "prompt", "score", "error"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for row in rows:
            if row.error is not None:
                table.writerow({"path": row.name, "error": row.error})
            for model, (prompt, score) in zip(names, row.prompts, strict=False):
                line = {"path": row.name, "prompt": prompt, "score": score}
                table.writerow({**line, "model": model} if several else line)


def load_describer(options) -> Describer:
    """Loads what the command line asks for.

    Args:
        options: `demo.__main__.DemoConfig`.

    Raises:
        FileNotFoundError: if a run, its data or the bank are missing.
        ValueError: if one is not what it must be.
    """
    loader = _Loader(options)
    if options.saved_model is not None:
        models = [loader.load_saved_model(options.saved_model)]
    else:
        names = name_runs(options.run_dir)
        models = [
            loader.load_run(run_dir, name)
            for run_dir, name in zip(options.run_dir, names, strict=True)
        ]
    interrogator = None
    if options.interrogator is not None:
        model, tokens, tables = inference_interrogator.load_run(options.interrogator)
        cache = pathlib.Path(options.interrogator) / inference_interrogator.CACHE
        how = Options(mode=inference_interrogator.DEFAULT_MODE, top=options.num_prompts)
        interrogator = Interrogator(model, tokens, tables, cache, how)
    return Describer(models, interrogator)


def name_runs(run_dirs: Sequence[str]) -> list[str]:
    """Names runs for the visitor by preset, and by folder where these are equal.

    Raises:
        FileNotFoundError: if there is no run in a folder.
    """
    names = [run_folder.read_config(run_dir).preset for run_dir in run_dirs]
    if len(set(names)) == len(names):
        return names
    folders = [pathlib.Path(run_dir).resolve().name for run_dir in run_dirs]
    if len(set(folders)) < len(folders):
        folders = [str(number) for number in range(1, len(folders) + 1)]
    return [f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)]


class _Loader:
    """Loads models; of what two of them share, one."""

    def __init__(self, options):
        self._options = options

    @functools.cached_property
    def embedder(self):
        return prompt_embedder.load_embedder()

    @functools.lru_cache  # noqa: B019  the loader lives as long as its banks
    def training_bank(self, folder):
        return bank.training_bank(folder)

    def load_saved_model(self, path):
        saved = SavedPromptWriter(path)
        near = None
        if self._options.bank is not None:
            near = self._neighbours(self._read_bank(pathlib.Path(path).parent))
        version = pathlib.Path(path).resolve()
        name = f"{version.parent.name}, version {version.name}"
        return writers.SavedModelWriter(name, saved, near)

    def load_run(self, run_dir, name):
        preset = run_folder.read_config(run_dir).preset
        if presets.kind(preset) != "captioner":
            member = load_member(run_dir)
            near = self._neighbours(self._find_bank(run_dir))
            return writers.EmbeddingWriter(name, member, near)
        _, vocabulary, model = run_folder.load_run(run_dir)
        near = None
        try:
            near = self._neighbours(self._find_bank(run_dir))
        except (FileNotFoundError, ValueError) as error:
            if self._options.bank is not None:
                raise
            # A captioner writes without; the page then says less.
            print(f"demo: no nearest training prompts: {error}", file=sys.stderr)
        count = self._options.num_prompts
        return writers.CaptionerWriter(name, model, vocabulary, count, near)

    def _neighbours(self, prompts):
        count = self._options.num_prompts
        name = (
            "training prompts" if self._options.bank is None else "prompts of the bank"
        )
        return writers.Neighbours(prompts, self.embedder, count, name)

    def _find_bank(self, run_dir):
        if self._options.bank is not None:
            return self._read_bank(run_dir)
        folder = data_folder.find_data(run_folder.read_config(run_dir).data)
        return self.training_bank(os.fspath(folder))

    def _read_bank(self, folder):
        prompts = bank.read_prompts(self._options.bank)
        cache = pathlib.Path(folder) / BANK_CACHE
        return bank.build_bank(prompts, self.embedder, cache)
