"""A finished run, for the commands that use one."""

import functools
import os
import pathlib

import keras

import tf_prompt.models.presets  # noqa: F401  registers the classes that Keras loads
from tf_prompt.data import vocabulary
from tf_prompt.interrogation import clip_tokens, phrases
from tf_prompt.models import language_bases
from tf_prompt.runs import folder
from tf_prompt.runs.model_file import load_model_file


class Run:
    """A trained run; its parts are read from the folder on first use.

    Args:
        run_dir: folder of a run of `tf_prompt.fit`.

    Attributes:
        path: `pathlib.Path`, the folder.
        config: `FitConfig`, the options of the run.

    Raises:
        FileNotFoundError: if there is no run in the folder.
        ValueError: if its options are damaged.

    Example:

    >>> run = tf_prompt.Run("runs/transformer_tiny")
    >>> run.preset, run.config.batch_size
    ('transformer_tiny', 4)
    >>> run.best_model.name, run.model.count_params() > 10_000
    ('best.keras', True)
    >>> run.vocabulary.tokens[:4]
    ['[PAD]', '[UNK]', '[START]', '[END]']
    >>> run.find_data("shards"), run.evaluation_folder("test")
    (PosixPath('shards'), PosixPath('runs/transformer_tiny/evaluation'))
    """

    def __init__(self, run_dir: str | pathlib.Path):
        self.path = pathlib.Path(run_dir)
        self.config = folder.read_config(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def preset(self) -> str:
        """Name of the model's preset."""
        return self.config.preset

    @functools.cached_property
    def model(self) -> keras.Model:
        """The model of the best epoch, a `keras.Model`.

        Raises:
            FileNotFoundError: if no epoch has finished.
            ValueError: if the file is damaged, or the pretrained base of a language
                model cannot be found or is not the one used in training.
        """
        model, given = load_model_file(self.best_model), self.config.backbone_weights
        language_bases.attach_base(
            model, language_bases.find_source(self.preset, given)
        )
        return model

    @property
    def best_model(self) -> pathlib.Path:
        """The file of the best epoch's model.

        Raises:
            FileNotFoundError: if no epoch has finished.
        """
        path = self.path / folder.BEST_MODEL
        if not path.is_file():
            raise FileNotFoundError(
                f"run_dir must hold {folder.BEST_MODEL}, written after the first "
                f"epoch. Received: {self.path}"
            )
        return path

    @property
    def model_stat(self) -> os.stat_result:
        """Size and modification time of the best model's file."""
        return (self.path / folder.BEST_MODEL).stat()

    @functools.cached_property
    def vocabulary(self) -> vocabulary.Vocabulary:
        """The vocabulary of a captioner, a `WordVocabulary` or `SubwordVocabulary`.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is damaged, or does not fit the model.
        """
        config = self.config
        found = vocabulary.read(self.path, config.tokens, config.fold_case)
        if len(found) != self.model.vocab_size:
            raise ValueError(
                f"{vocabulary.TOKENS} must hold the model's {self.model.vocab_size} "
                f"tokens. Received: {len(found)} in {self.path}"
            )
        return found

    @functools.cached_property
    def modifiers(self) -> list[str]:
        """The modifiers of a tagger, in the order of its outputs.

        Raises:
            FileNotFoundError: if the file is missing.
            ValueError: if its length does not fit the model.
        """
        path = self.path / folder.MODIFIERS
        if not path.is_file():
            raise FileNotFoundError(
                f"run_dir must hold {folder.MODIFIERS}. Received: {self.path}"
            )
        modifiers = path.read_text(encoding="utf-8").split("\n")[:-1]
        if len(modifiers) != self.model.num_modifiers:
            raise ValueError(
                f"{folder.MODIFIERS} must hold the model's {self.model.num_modifiers} "
                f"modifiers. Received: {len(modifiers)} in {self.path}"
            )
        return modifiers

    @functools.cached_property
    def tokens(self) -> clip_tokens.CLIPTokens:
        """A CLIP interrogator's tokenizer.

        Raises:
            FileNotFoundError: if its files are missing.
            ValueError: if one of them is damaged.
        """
        return clip_tokens.load_tokens(self.path / folder.TOKENIZER)

    @functools.cached_property
    def phrases(self) -> dict[str, list[str]]:
        """A CLIP interrogator's phrases, by table.

        Example:

        >>> run = tf_prompt.Run("runs/clip_interrogator_tiny")
        >>> "a red patch" in run.phrases["subjects"]
        True
        """
        return phrases.read_tables(sorted((self.path / folder.PHRASES).glob("*.txt")))

    def find_data(self, data: str | None = None) -> pathlib.Path:
        """Finds a folder of shards.

        Args:
            data: as `--data`; None takes the run's own.

        Raises:
            FileNotFoundError: if the folder holds no training shards.
            ValueError: if the run's own data have changed since training.
        """
        return folder.find_data(self.path, data)

    def evaluation_folder(self, split: str) -> pathlib.Path:
        """Returns the folder of a split's evaluation, which may not exist yet."""
        return folder.output_folder(self.path, split)
