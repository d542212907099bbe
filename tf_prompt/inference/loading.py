"""From a place to the model that it holds: the one switch on kinds of model."""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference import bank
from tf_prompt.inference.captioner import NUM_BEAMS, CaptionerModel
from tf_prompt.inference.embedding_models import (
    BankedModel,
    EnsembleModel,
    RegressorModel,
)
from tf_prompt.inference.interrogator import MODE, InterrogatorModel
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.neighbours import NEIGHBOURS, NeighbourModel, open_index
from tf_prompt.inference.retrieval import RetrievalIndex, RetrievalModel
from tf_prompt.inference.tagger import TaggerModel
from tf_prompt.interrogation import clip_tokens, phrases
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogator
from tf_prompt.metrics import prompt_embedder
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.models.retriever import Retriever
from tf_prompt.models.tagger import Tagger
from tf_prompt.options import take_options
from tf_prompt.runs.run import Run

# In a run's folder: embeddings of a file of prompts, and of its phrases.
BANK_CACHE, PHRASE_CACHE = "prompt_bank", "phrase_embeddings"


class Loader:
    """Loads models; what several of them need is loaded once."""

    def __init__(self):
        # Not `lru_cache`, which would keep all models of a notebook alive.
        self._runs: dict[str, Run] = {}
        self._banks: dict[pathlib.Path, bank.PromptBank] = {}

    @functools.cached_property
    def embedder(self) -> prompt_embedder.PromptEmbedder:
        """MiniLM.

        Raises:
            ValueError: if it is not within reach.
        """
        return prompt_embedder.load_embedder()

    def load(
        self, spec: str | os.PathLike, decoding: DecodingConfig | None = None
    ) -> PromptModel:
        """Loads what predicts embeddings.

        Args:
            spec: folder of a run of `tf_prompt.fit`; `knn:FOLDER` predicts from the
                training images nearest in the features of that run's model.
            decoding: see `load_run`.

        Raises:
            FileNotFoundError: if there is no run, or a part of it is missing.
            ValueError: if a part is damaged, or MiniLM is not within reach.
        """
        run = self.open_run(spec)
        model = self.load_run(run, decoding)
        if is_neighbours(spec):
            return NeighbourModel(model, open_index(model, run))
        if not model.embeds:
            raise ValueError(
                "embeddings are not predicted by this kind of model; its neighbours "
                f"give some: {NEIGHBOURS}{spec}. Received: {spec} with {model.name}"
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
            decoding: how a captioner writes; other models take the default only.
            embeds: whether a captioner embeds its prompts too, which takes MiniLM.
            num_beams: prompts of a captioner's signature `beam`.

        Raises:
            FileNotFoundError: if a part of the run is missing.
            ValueError: for ways of decoding where no word is decoded; if a part is
                damaged; if MiniLM is wanted and not within reach.
        """
        decoding = decoding or DecodingConfig()
        network, name = run.model, run.preset
        if isinstance(network, Captioner):
            embedder = self.embedder if embeds or decoding.rerank else None
            return CaptionerModel(
                network, run.vocabulary, decoding, embedder, name, num_beams
            )
        if decoding != DecodingConfig():
            raise ValueError(f"ways of decoding go with captioners. Received: {name}")
        if isinstance(network, Retriever):
            return RetrievalModel(network, RetrievalIndex.load(run.path), name)
        if isinstance(network, Tagger):
            return TaggerModel(network, run.modifiers, name)
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

        A model that writes none gives the nearest of a bank.

        Args:
            spec: as in `load`.
            decoding: see `load_run`.
            bank_file: text file of one prompt a line; None takes the prompts that
                the run was trained on.

        Raises:
            FileNotFoundError, ValueError: as `load_run`; for a bank that the model
                has no use for, or that is missing.
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
        """Finds the prompts that a run's model chooses among, see `load_writer`."""
        if bank_file is None:
            return self._training_bank(run.find_data())
        return self.read_bank(bank_file, run.path)

    def read_bank(self, bank_file: str, folder: pathlib.Path) -> bank.PromptBank:
        """Reads a file of prompts; their embeddings are kept in a folder."""
        prompts = bank.read_bank(bank_file)
        return bank.build_bank(prompts, self.embedder, folder / BANK_CACHE)

    def load_interrogator(self, run: Run, options: InterrogationConfig) -> Interrogator:
        """Loads a CLIP's run in any mode, without embeddings of its prompts.

        Raises:
            FileNotFoundError: if a part is missing.
            ValueError: if it is another model's run, or a file is damaged.
        """
        require_clip(run)
        return self._interrogator(run, options, embedder=None)

    def open_run(self, spec: str | os.PathLike) -> Run:
        """Opens the run that a spec of `load` is about, once."""
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
    """Whether a spec names the neighbours of a run, not its model."""
    return os.fspath(spec).startswith(NEIGHBOURS)


def require_clip(run: Run) -> None:
    """Checks that a run's model is a CLIP interrogator.

    Raises:
        ValueError: if it is another.
    """
    if not isinstance(run.model, CLIPInterrogator):
        raise ValueError(
            "run_dir must hold a CLIP interrogator. "
            f"Received: {run.path} with preset {run.preset}"
        )


def load_pretrained(source: str):
    """Loads a pretrained CLIP and its tokens, see `models.clip.load_clip`.

    Raises:
        ValueError: if there is none within reach, or it has no tokenizer.
    """
    model = CLIPInterrogator(source)
    tokenizer = clip_tokens.load_tokenizer(source)
    if tokenizer.vocabulary_size() != model.vocab_size:
        raise ValueError(
            f"the tokenizer must have {model.vocab_size} entries, as the clip. "
            f"Received: {tokenizer.vocabulary_size()} in {source}"
        )
    return model, clip_tokens.CLIPTokens(tokenizer, model.max_tokens)


def load_interrogation(options) -> tuple[Interrogator, Callable | None]:
    """Loads what the command line of `interrogate` asks for.

    Args:
        options: `interrogate.InterrogateConfig`.

    Returns:
        The interrogator, and the captioner as a function of encoded images.

    Raises:
        FileNotFoundError, ValueError: if a part is missing, or not what it must be.
    """
    loader = Loader()
    tables = phrases.read_tables(options.phrases)
    cache_dir = options.cache_dir
    if options.run_dir is None:
        model, tokens = load_pretrained(options.clip)
    else:
        run = Run(options.run_dir)
        require_clip(run)
        model, tokens = run.model, run.tokens
        tables = join_tables(run.phrases, tables)
        cache_dir = cache_dir or run.path / PHRASE_CACHE
    captioner = None
    if options.captioner is not None:
        captioner = loader.load_writer(options.captioner)
    embedder = loader.embedder if options.json and options.embedding else None
    how = take_options(InterrogationConfig, options)
    interrogator = Interrogator(
        model, tokens, tables, cache_dir, how, embedder=embedder
    )
    return interrogator, captioner


def join_tables(
    tables: Mapping[str, Sequence[str]], own: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Adds a user's tables; phrases of an equal name join those that are there."""
    names = dict.fromkeys([*tables, *own])
    return {
        name: list(dict.fromkeys([*tables.get(name, ()), *own.get(name, ())]))
        for name in names
    }
