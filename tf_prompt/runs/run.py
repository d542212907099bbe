"""A finished run, opened once: what every command that uses one asks of it."""

import functools
import os
import pathlib

import keras

import tf_prompt.models.presets  # noqa: F401  registers the classes that Keras loads
from tf_prompt.data import text
from tf_prompt.interrogation import clip_tokens, phrases
from tf_prompt.runs import folder
from tf_prompt.runs.model_file import load_model_file


class Run:
    """The folder of a run, whose parts are read when they are first asked for.

    Args:
        run_dir: the folder.

    Attributes:
        path: the folder.
        config: `FitConfig`, the options of the run.

    Raises:
        FileNotFoundError: if there is no run in the folder.
        ValueError: if its options are damaged.
    """

    def __init__(self, run_dir: str | pathlib.Path):
        self.path = pathlib.Path(run_dir)
        self.config = folder.read_config(self.path)

    @property
    def preset(self) -> str:
        """Name of the model's preset."""
        return self.config.preset

    @functools.cached_property
    def model(self) -> keras.Model:
        """The best model.

        Raises:
            FileNotFoundError: if no epoch has ended.
            ValueError: if the file is damaged.
        """
        path = self.path / folder.BEST_MODEL
        if not path.is_file():
            raise FileNotFoundError(
                f"run_dir must hold {folder.BEST_MODEL}, written after the first "
                f"epoch. Received: {self.path}"
            )
        return load_model_file(path)

    @property
    def model_stat(self) -> os.stat_result:
        """Size and times of the best model's file."""
        return (self.path / folder.BEST_MODEL).stat()

    @functools.cached_property
    def vocabulary(self) -> list[str]:
        """The token of each id, of a model that writes word by word.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is not the model's own.
        """
        vocabulary = text.read_vocabulary(self.path / folder.VOCABULARY)
        if len(vocabulary) != self.model.vocab_size:
            raise ValueError(
                f"{folder.VOCABULARY} must hold the model's {self.model.vocab_size} "
                f"tokens. Received: {len(vocabulary)} in {self.path}"
            )
        return vocabulary

    @functools.cached_property
    def modifiers(self) -> list[str]:
        """The modifiers of a tagger, in the order of its outputs.

        Raises:
            FileNotFoundError: if the file is missing.
            ValueError: if it is not the model's own.
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
        """The tokenizer of a CLIP.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if a file of it is damaged.
        """
        return clip_tokens.load_tokens(self.path / folder.TOKENIZER)

    @functools.cached_property
    def phrases(self) -> dict[str, list[str]]:
        """The phrases of an interrogator, by table."""
        return phrases.read_tables(sorted((self.path / folder.PHRASES).glob("*.txt")))

    def find_data(self, data: str | None = None) -> pathlib.Path:
        """Gives the folder of shards that `--data` names; None takes the run's own.

        Raises:
            FileNotFoundError: if the folder holds no training shard.
            ValueError: if the run's own data are no longer what it was trained on.
        """
        return folder.find_data(self.path, data)

    def evaluation_folder(self, split: str) -> pathlib.Path:
        """Folder of a split's evaluation, which may not be there yet."""
        return folder.output_folder(self.path, split)
