"""Computes everything that the page shows for an uploaded file."""

import csv
import dataclasses
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from tf_prompt.data import images
from tf_prompt.data.toy import shards as toy_shards
from tf_prompt.demo import uploads, writers
from tf_prompt.demo.background import Background
from tf_prompt.inference.bank import build_bank
from tf_prompt.inference.embedding_models import BankedModel
from tf_prompt.inference.interrogator import MODE
from tf_prompt.inference.loading import BANK_CACHE, Loader
from tf_prompt.inference.model import Scored
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogated, Interrogator
from tf_prompt.runs.run import Run
from tf_prompt.serving.saved_model import SavedPromptWriter

BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Description:
    """All results for an image.

    Attributes:
        written: results of each model, in the order of `Describer.names`.
        interrogated: phrases by table; None without an interrogator.
    """

    written: list[writers.Written]
    interrogated: Interrogated | None = None


@dataclasses.dataclass(frozen=True)
class BatchRow:
    """The results for one file of a batch.

    Attributes:
        name: name of the file.
        prompts: best prompt and score of each model; empty for a bad file.
        error: what is wrong with the file, or None.
    """

    name: str
    prompts: list[Scored]
    error: str | None = None


class Describer:
    """Computes the results for files; one caller at a time.

    Args:
        models: at least one `writers.Writer`.
        interrogator: ranks phrases; None leaves them out.
    """

    def __init__(
        self,
        models: Sequence[writers.Writer],
        interrogator: Interrogator | None = None,
    ):
        self.names = [model.name for model in models]
        self._models, self._interrogator = list(models), interrogator
        # Keras is not guaranteed to be thread-safe.
        self._lock = threading.Lock()

    @property
    def has_interrogator(self) -> bool:
        """Whether phrases are ranked."""
        return self._interrogator is not None

    def describe(self, data: bytes, name: str) -> Description:
        """Computes all results for one file.

        Args:
            data: content of the file.
            name: name of the file, for messages.

        Raises:
            ValueError: if it is not an image; the message is for the visitor.
        """
        uploads.check_image(data, name)
        with self._lock:
            written = [model.describe(data) for model in self._models]
            if self._interrogator is None:
                return Description(written)
            size = self._interrogator.model.image_size
            image = images.decode_image(data, size).numpy()
            return Description(written, self._interrogator(image[None])[0])

    def write(
        self, files: Sequence[tuple[str, Callable[[], bytes]]]
    ) -> Iterator[list[BatchRow]]:
        """Writes the prompts of many files; bad ones do not affect the others.

        Args:
            files: pairs of a name and a function that reads the file.

        Yields:
            The rows of the next files, in order.
        """
        for start in range(0, len(files), BATCH_SIZE):
            yield self._write_batch(files[start : start + BATCH_SIZE])

    def _write_batch(self, files):
        sound, errors = {}, {}
        for index, (name, read) in enumerate(files):
            try:
                data = read()
                uploads.check_image(data, name)
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
    """Writes a batch with the columns of `predict --csv`, one line per image and model.

    Args:
        rows: rows from `Describer.write`.
        names: names of the models; several add a column `model`.
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
    """Loads the models that the command line names.

    Args:
        options: `demo.__main__.DemoConfig`.

    Raises:
        FileNotFoundError: if a run, its data or the bank are missing.
        ValueError: if one of them is damaged or of the wrong kind.
    """
    loader, count = Loader(), options.num_prompts
    if options.saved_model is not None:
        models = [_load_saved_model(options, loader)]
    else:
        runs = [Run(run_dir) for run_dir in options.run_dir]
        models = [
            _load_writer(run, name, options, loader)
            for run, name in zip(runs, name_runs(runs), strict=True)
        ]
    interrogator = None
    if options.interrogator is not None:
        how = InterrogationConfig(mode=MODE, top=count)
        interrogator = loader.load_interrogator(Run(options.interrogator), how)
    return Describer(models, interrogator)


def name_runs(runs: Sequence[Run]) -> list[str]:
    """Names runs for the visitor by preset, and by folder if presets are equal."""
    names = [run.preset for run in runs]
    if len(set(names)) == len(names):
        return names
    folders = [run.path.resolve().name for run in runs]
    if len(set(folders)) < len(folders):
        folders = [str(number) for number in range(1, len(folders) + 1)]
    return [f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)]


def _load_saved_model(options, loader) -> writers.Writer:
    path = pathlib.Path(options.saved_model)
    saved = SavedPromptWriter(path)
    near = None
    if options.bank is not None:
        near = _neighbours(loader.read_bank(options.bank, path.parent), options, loader)
    version = path.resolve()
    name = f"{version.parent.name}, version {version.name}"
    return writers.Writer(name, saved, options.num_prompts, near)


def _load_writer(run: Run, name, options, loader) -> writers.Writer:
    model = loader.load_run(run, embeds=False)
    if not model.writes_prompts:
        banked = _load_banked(model, run, options, loader)
        return writers.Writer(name, banked, options.num_prompts)
    if options.bank is not None:
        near = _neighbours(loader.find_bank(run, options.bank), options, loader)
    else:
        near = _find_neighbours_later(run, options, loader)
    return writers.Writer(name, model, options.num_prompts, near)


def _load_banked(model, run, options, loader) -> BankedModel | Background[BankedModel]:
    if options.bank is None and _lacks_toy(run):
        # Loaded here, not in the thread, so that a missing model is reported now.
        _ = loader.embedder
        return Background(lambda: BankedModel(model, _toy_bank(run, loader)))
    return BankedModel(model, loader.find_bank(run, options.bank))


def _find_neighbours_later(run, options, loader) -> Background | None:
    """Finds training prompts in the background, as they may have to be embedded."""

    def find():
        try:
            if _lacks_toy(run):
                return _neighbours(_toy_bank(run, loader), options, loader)
            return _neighbours(loader.find_bank(run), options, loader)
        except (OSError, ValueError) as error:
            _tell_missing(error)
            return None

    try:
        _ = loader.embedder
    except ValueError as error:
        _tell_missing(error)
        return None
    return Background(find)


def _lacks_toy(run) -> bool:
    return run.config.data == "toy" and not toy_shards.is_written()


def _toy_bank(run, loader):
    """The training prompts of the toy set, without drawing its images."""
    prompts = [prompt for *_, prompt in toy_shards.list_prompts("train")]
    return build_bank(prompts, loader.embedder, run.path / BANK_CACHE)


def _tell_missing(error) -> None:
    # The model works without them; the page then shows less.
    print(f"demo: no nearest training prompts: {error}", file=sys.stderr)


def _neighbours(bank, options, loader) -> writers.Neighbours:
    name = "training prompts" if options.bank is None else "prompts of the bank"
    return writers.Neighbours(bank, loader.embedder, options.num_prompts, name)
