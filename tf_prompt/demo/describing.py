"""Describes uploaded files: everything that the page shows."""

import dataclasses
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tf_prompt.data import uploads
from tf_prompt.data.toy import shards as toy_shards
from tf_prompt.demo import batch_files, writers
from tf_prompt.demo.background import Background
from tf_prompt.inference import image_bytes, pretrained
from tf_prompt.inference.bank import build_bank
from tf_prompt.inference.embedding_models import BankedModel
from tf_prompt.inference.interrogator import MODE
from tf_prompt.inference.loading import BANK_CACHE, Loader
from tf_prompt.inference.wording import Wording, WordingConfig
from tf_prompt.interrogation import presets
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogated, Interrogator
from tf_prompt.runs.run import Run
from tf_prompt.serving.saved_model import SavedPromptWriter

BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Description:
    """Everything that is shown for an image.

    Attributes:
        written: list of `Written`, in the order of `Describer.names`.
        results: the best prompt of each model, as dicts like those of `predict`.
        interrogated: dict from table to phrases; None without an interrogator.
        embedded: dict of the file's own metadata, see `Embedded`; may be empty.
    """

    written: list[writers.Written]
    results: list[dict]
    interrogated: Interrogated | None = None
    embedded: dict = dataclasses.field(default_factory=dict)


class Describer:
    """Describes files with all models, one caller at a time.

    Args:
        models: `writers.Writer`s and `writers.Ranker`s, at least one.

    Attributes:
        models: as given.
        names: names of the models.
        interrogator: ranks phrases; None leaves them out.
    """

    def __init__(
        self,
        models: Sequence[writers.Writer | writers.Ranker],
        interrogator: Interrogator | None = None,
    ):
        self.names = [model.name for model in models]
        self.models, self._interrogator = list(models), interrogator
        # Keras models are not guaranteed to be thread-safe.
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether images are described at once."""
        return all(model.is_ready for model in self.models)

    @property
    def has_interrogator(self) -> bool:
        """Whether phrases are ranked."""
        return self._interrogator is not None

    def start(self) -> None:
        """Starts what is loaded in the background."""
        for model in self.models:
            model.start()

    def wordings(self, config: WordingConfig) -> list[Wording]:
        """Returns one `Wording` per model.

        Raises:
            ValueError: if the template names a field that a model does not have.
        """
        return [
            Wording(config, [model.score_field], model.tables, model.count)
            for model in self.models
        ]

    def describe(self, data: bytes, name: str) -> Description:
        """Describes one file.

        Args:
            data: content of the file.
            name: its name, for messages.

        Raises:
            ValueError: if it is not an image; the message is for the visitor.
        """
        uploads.check_image(data, name)
        said, ranked = image_bytes.embedded_field(data), None
        with self._lock:
            written = [model.describe(data) for model in self.models]
            if self._interrogator is not None:
                pixels = np.asarray(self._interrogator.decode(data))
                (ranked,) = self._interrogator(pixels[None])
        results = []
        for model, found in zip(self.models, written, strict=True):
            prompt, score = found.prompts[0]
            row = {"path": name, "prompt": prompt, model.score_field: score}
            results.append({**row, "phrases": found.phrases, **said})
        return Description(written, results, ranked, said.get("embedded", {}))

    def write(
        self, files: Sequence[tuple[str, Callable[[], bytes]]]
    ) -> Iterator[list[batch_files.BatchRow]]:
        """Writes the prompts of many files; bad files do not affect others.

        Args:
            files: pairs of a name and a function that reads the file.

        Yields:
            Lists of `BatchRow` of the next files, in order.
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
        written: dict[int, list[dict]] = {}
        if sound:
            with self._lock:
                found = [m.results(list(sound.values())) for m in self.models]
            for row, (index, data) in enumerate(sound.items()):
                path = {"path": files[index][0]}
                said = image_bytes.embedded_field(data)
                written[index] = [{**path, **rows[row], **said} for rows in found]
        return [
            batch_files.BatchRow(name, written.get(index, []), errors.get(index))
            for index, (name, _) in enumerate(files)
        ]


def load_describer(options) -> Describer:
    """Loads the models of the command line.

    Args:
        options: `demo.__main__.DemoConfig`.

    Raises:
        FileNotFoundError: if a run, its data or the bank is missing.
        ValueError: if one of them is of the wrong kind, or damaged.
    """
    loader, count = Loader(), options.num_prompts
    if options.saved_model is not None:
        models = [_load_saved_model(options, loader)]
    elif not options.run_dir:
        models = [_load_ranker(options)]
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


def _load_ranker(options) -> writers.Ranker:
    """Loads a pretrained CLIP; its phrases are embedded in the background."""
    how = InterrogationConfig(mode=options.mode, top=options.num_prompts)
    tables = pretrained.find_tables(options.tables, options.phrases, how.mode)
    place = options.clip or presets.DEFAULT
    pair = pretrained.load_pretrained(place)
    name = pathlib.Path(place).name
    made = Background(lambda: pretrained.embed_phrases(pair, tables, how))
    return writers.Ranker(name, pair[1], list(tables), made)


def name_runs(runs: Sequence[Run]) -> list[str]:
    """Names runs by preset, or by folder if presets are equal."""
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
        # Loaded here, not in the thread, so that a missing MiniLM is reported now.
        _ = loader.embedder
        return Background(lambda: BankedModel(model, _toy_bank(run, loader)))
    return BankedModel(model, loader.find_bank(run, options.bank))


def _find_neighbours_later(run, options, loader) -> Background | None:
    """Finds the training prompts, which may have to be embedded first."""

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
    """The bank of the toy set's training prompts, which needs no images."""
    prompts = [prompt for *_, prompt in toy_shards.list_prompts("train")]
    return build_bank(prompts, loader.embedder, run.path / BANK_CACHE)


def _tell_missing(error) -> None:
    # The model works without them; the page then shows less.
    print(f"demo: no nearest training prompts: {error}", file=sys.stderr)


def _neighbours(bank, options, loader) -> writers.Neighbours:
    name = "training prompts" if options.bank is None else "prompts of the bank"
    return writers.Neighbours(bank, loader.embedder, options.num_prompts, name)
