"""Loads models from runs; the only place that distinguishes kinds of model."""

import functools
import os
import pathlib
from collections.abc import Callable

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference import bank, pretrained
from tf_prompt.inference.captioner import NUM_BEAMS, CaptionerModel
from tf_prompt.inference.embedding_models import (
    BankedModel,
    EnsembleModel,
    RegressorModel,
)
from tf_prompt.inference.interrogator import MODE, InterrogatorModel
from tf_prompt.inference.language import LanguageModel, load_pretrained
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.neighbours import NEIGHBOURS, NeighbourModel, open_index
from tf_prompt.inference.retrieval import RetrievalIndex, RetrievalModel
from tf_prompt.inference.tagger import TaggerModel
from tf_prompt.interrogation import presets, table_sources
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogator
from tf_prompt.metrics import prompt_embedder
from tf_prompt.models import language_presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.language import LanguageCaptioner
from tf_prompt.models.linear_tagger import LinearTagger
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.models.retriever import Retriever
from tf_prompt.models.tagger import Tagger
from tf_prompt.options import take_options
from tf_prompt.runs.run import Run

# Subfolders of a run: embeddings of banks of prompts, and of phrases.
BANK_CACHE, PHRASE_CACHE = "prompt_bank", "phrase_embeddings"


class Loader:
    """Loads models; the parts that they share are loaded once."""

    def __init__(self):
        # Not `lru_cache`, which would keep all models of a notebook alive.
        self._runs: dict[str, Run] = {}
        self._banks: dict[pathlib.Path, bank.PromptBank] = {}

    @functools.cached_property
    def embedder(self) -> prompt_embedder.PromptEmbedder:
        """MiniLM.

        Raises:
            ValueError: if it is neither installed nor reachable.
        """
        return prompt_embedder.load_embedder()

    def load(
        self, spec: str | os.PathLike, decoding: DecodingConfig | None = None
    ) -> PromptModel:
        """Loads a model with embeddings.

        Args:
            spec: folder of a run of `tf_prompt.fit`; `knn:FOLDER` averages the nearest
                training images by the features of that run's model.
            decoding: see `load_run`.

        Raises:
            FileNotFoundError: if there is no run, or a file of it is missing.
            ValueError: if a file is damaged, or MiniLM cannot be loaded.
        """
        run = self.open_run(spec)
        model = self.load_run(run, decoding)
        if is_neighbours(spec):
            return NeighbourModel(model, open_index(model, run))
        if not model.embeds:
            raise ValueError(
                "embeddings are not predicted by this kind of model; take those of the "
                f"nearest images: {NEIGHBOURS}{spec}. Received: {spec} with "
                f"{model.name}"
            )
        return model

    def load_run(
        self,
        run: Run,
        decoding: DecodingConfig | None = None,
        embeds: bool = True,
        num_beams: int = NUM_BEAMS,
    ) -> PromptModel:
        """Loads the model of a run.

        Args:
            run: the run.
            decoding: how a captioner decodes; other models take only the default.
            embeds: whether a captioner also embeds its prompts, which needs MiniLM.
            num_beams: number of prompts in a captioner's signature `beam`.

        Raises:
            FileNotFoundError: if a file of the run is missing.
            ValueError: for decoding options with a model that does not decode words;
                if a file is damaged; if MiniLM is needed and cannot be loaded.
        """
        decoding = decoding or DecodingConfig()
        network, name = run.model, run.preset
        if isinstance(network, Captioner | LanguageCaptioner):
            embedder = self.embedder if embeds or decoding.rerank else None
            writes = isinstance(network, LanguageCaptioner)
            model_class = LanguageModel if writes else CaptionerModel
            return model_class(
                network, run.vocabulary, decoding, embedder, name, num_beams
            )
        if decoding != DecodingConfig():
            raise ValueError(f"decoding options need a captioner. Received: {name}")
        if isinstance(network, Retriever):
            return RetrievalModel(network, RetrievalIndex.load(run.path), name)
        if isinstance(network, Tagger | LinearTagger):
            subjects = [self.load_writer(member) for member in run.config.members]
            return TaggerModel(network, run.modifiers, name, *subjects)
        if isinstance(network, EmbeddingRegressor):
            return RegressorModel(network, name)
        if isinstance(network, Ensemble):
            members = [self.load(member) for member in run.config.members]
            return EnsembleModel(network, members, name)
        if isinstance(network, CLIPInterrogator):
            options = InterrogationConfig(mode=MODE)
            return InterrogatorModel(self._interrogator(run, options), name)
        raise ValueError(
            f"run_dir must hold a model of images. Received: {run.path} with {name}"
        )

    def load_writer(
        self,
        spec: str | os.PathLike,
        decoding: DecodingConfig | None = None,
        bank_file: str | None = None,
    ) -> PromptModel:
        """Loads a run's model as one that writes prompts.

        Models that write no prompts choose the nearest from a bank.

        Args:
            spec: as in `load`.
            decoding: see `load_run`.
            bank_file: text file of prompts, one per line; None takes the training
                prompts.

        Raises:
            FileNotFoundError, ValueError: as `load_run`; also for a missing bank, or
                one for a model that does not use it.
        """
        run = self.open_run(spec)
        if is_neighbours(spec):
            model = self.load(spec, decoding)
        else:
            model = self.load_run(run, decoding, embeds=False)
        if not model.writes_prompts:
            return BankedModel(model, self.find_bank(run, bank_file))
        if bank_file is not None:
            raise ValueError(
                f"bank must be left out with preset {run.preset}. Received: {bank_file}"
            )
        return model

    def find_bank(self, run: Run, bank_file: str | None = None) -> bank.PromptBank:
        """Loads the prompts that a run's model chooses from.

        Args:
            run: the run.
            bank_file: as in `load_writer`.

        Raises:
            FileNotFoundError: if the file or the training shards are missing.
            ValueError: if the file is not UTF-8 or has no prompts, or MiniLM is needed
                and cannot be loaded.
        """
        if bank_file is None:
            return self._training_bank(run.find_data())
        return self.read_bank(bank_file, run.path)

    def read_bank(self, bank_file: str, folder: pathlib.Path) -> bank.PromptBank:
        """Reads a text file of prompts, one per line, and embeds them.

        Args:
            bank_file: the file.
            folder: folder in which the embeddings are cached, in `BANK_CACHE`.

        Raises:
            FileNotFoundError, ValueError: as `find_bank`.
        """
        prompts = bank.read_bank(bank_file)
        return bank.build_bank(prompts, self.embedder, folder / BANK_CACHE)

    def load_interrogator(self, run: Run, options: InterrogationConfig) -> Interrogator:
        """Loads a CLIP interrogator's run in any mode, without prompt embeddings.

        Args:
            run: the run.
            options: how to interrogate.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if it is a run of another model, or a file is damaged.
        """
        require_clip(run)
        return self._interrogator(run, options, embedder=None)

    def open_run(self, spec: str | os.PathLike) -> Run:
        """Opens the run of a spec, see `load`; each run only once."""
        path = os.fspath(spec).removeprefix(NEIGHBOURS)
        if path not in self._runs:
            self._runs[path] = Run(path)
        return self._runs[path]

    def _training_bank(self, folder: pathlib.Path) -> bank.PromptBank:
        if folder not in self._banks:
            self._banks[folder] = bank.training_bank(folder)
        return self._banks[folder]

    def _interrogator(self, run, options, **embedder):
        embedder = embedder or {"embedder": self.embedder}
        cache = run.path / PHRASE_CACHE
        return Interrogator(
            run.model, run.tokens, run.phrases, cache, options, **embedder
        )


def is_neighbours(spec: str | os.PathLike) -> bool:
    """Whether a spec means the neighbours of a run, not its model."""
    return os.fspath(spec).startswith(NEIGHBOURS)


def require_clip(run: Run) -> None:
    """Checks that a run's model is a CLIP interrogator.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(run.model, CLIPInterrogator):
        raise ValueError(
            "run_dir must hold a CLIP interrogator. "
            f"Received: {run.path} with preset {run.preset}"
        )


def load_interrogation(options) -> tuple[Interrogator, Callable | None]:
    """Loads what the command line of `interrogate` asks for.

    Args:
        options: `interrogate.InterrogateConfig`.

    Returns:
        The interrogator, and the captioner as a function of encoded images.

    Raises:
        FileNotFoundError, ValueError: if a part is missing or of the wrong kind.
    """
    loader = Loader()
    how = take_options(InterrogationConfig, options)
    # A run has phrases of its own.
    names = () if options.run_dir and options.tables is None else options.tables
    tables = pretrained.find_tables(names, options.phrases, how.mode)
    captioner = None
    if options.captioner in language_presets.SOURCES:
        captioner = load_pretrained(options.captioner)
    elif options.captioner is not None:
        captioner = loader.load_writer(options.captioner)
    wants_embedding = options.embedding and (options.json or options.jsonl)
    embedder = loader.embedder if wants_embedding else None
    if options.run_dir is None:
        interrogator = pretrained.load_interrogator(
            options.clip or presets.DEFAULT,
            tables,
            how,
            options.cache_dir,
            options.half,
            embedder=embedder,
        )
        return interrogator, captioner
    run = Run(options.run_dir)
    require_clip(run)
    interrogator = Interrogator(
        run.model,
        run.tokens,
        table_sources.join_tables(run.phrases, tables),
        options.cache_dir or run.path / PHRASE_CACHE,
        how,
        embedder=embedder,
    )
    return interrogator, captioner
