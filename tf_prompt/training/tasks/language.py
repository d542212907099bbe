"""The task of a vision-language model: an image in, the original prompt out."""

import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_prompt.data import caption_batches, pretrained_vocabulary, targets, vocabulary
from tf_prompt.data import folder as data_folder
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference import memory
from tf_prompt.inference.needs import format_megabytes
from tf_prompt.models import language_bases, presets
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import out_of_memory
from tf_prompt.training.losses import TokenAccuracy, WordLoss
from tf_prompt.training.optimizers import OnePassAdamW, accumulation
from tf_prompt.training.tasks.task import Task

# Limit for a tiny base, whose byte pairs are learned; a pretrained one has its own ids.
_VOCAB_SIZE = 2048


class LanguageTask(Task):
    """Data, model and loss of a run with a vision-language model of KerasHub.

    The vocabulary is the pretrained base's, copied into the run's folder. A base that
    is trained from scratch learns byte pairs of the training split.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if a pretrained base cannot be found.
    """

    options = Task.options | {
        *("vocab_size", "tokens", "max_subwords", "fold_case", "accumulate_steps"),
        *("image_size", "lora_rank", "train_vision", "zero_shot"),
    }
    _arguments = (*Task._arguments, "image_size", "lora_rank", "train_vision")
    derived = {"vocab_size": "vocab_size", "max_tokens": "max_subwords"}
    recipe = {
        **{"epochs": 9, "batch_size": 32, "learning_rate": 1e-3, "flip": False},
        "tokens": "subwords",
    }
    report_metrics = ("bleu", "meteor")
    half_precision = "mixed_bfloat16"

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        self.num_examples = data_folder.count_examples(folder, "train")
        self._source = self._find_source(config)
        if self._source is not None:
            language_bases.save_tokenizer(
                self._source, self._family, run_dir / pretrained_vocabulary.FOLDER
            )
        elif not (run_dir / vocabulary.TOKENS).is_file():
            prompts = targets.read_split(folder, "train")
            size = min(config.vocab_size, _VOCAB_SIZE)
            found = vocabulary.build_subwords(prompts, size, config.fold_case)
            found.write(run_dir)
        self.vocabulary = vocabulary.read(run_dir, config.tokens, config.fold_case)

    @property
    def _family(self):
        return presets.PRESETS[self.config.preset][0]

    @staticmethod
    def _find_source(config) -> str | None:
        return language_bases.find_source(config.preset, config.backbone_weights)

    @classmethod
    def check(cls, config: FitConfig) -> None:
        """See `Task`; only a pretrained base is useful without training."""
        pretrained = cls._find_source(config) is not None
        if not config.zero_shot:
            super().check(config)
        elif not pretrained:
            raise ValueError(
                "zero_shot needs pretrained weights: give --backbone-weights. "
                f"Received: --preset {config.preset}"
            )
        if config.tokens != "subwords":
            raise ValueError(
                f"tokens must be subwords with preset {config.preset}. "
                f"Received: {config.tokens}"
            )
        if pretrained and config.image_size is not None:
            raise ValueError(
                "image_size must be left out with a pretrained base, which has its "
                f"own. Received: {config.image_size}"
            )

    def overrides(self) -> dict:
        """See `Task`."""
        found = {
            "vocab_size": len(self.vocabulary),
            "max_tokens": self.config.max_subwords + 1,
            **super().overrides(),
        }
        return {**found, "lora_rank": None} if self.config.zero_shot else found

    def build_model(self) -> keras.Model:
        """See `Task`.

        Raises:
            ValueError: if the pretrained base cannot be found, or is of another family.
        """
        if self._source is None:
            return super().build_model()
        # Frozen weights need no more digits than they have.
        stands_still = self.config.mixed_precision and self.argument("lora_rank") != 0
        dtype = "bfloat16" if stands_still else None
        overrides = self.overrides()
        return language_bases.build(
            self.config.preset, self._source, dtype, **overrides
        )

    @classmethod
    def _learning(cls, model, config, schedule, steps_per_epoch):
        optimizer = OnePassAdamW(
            schedule,
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
            gradient_accumulation_steps=accumulation(config),
        )
        # The loss of the prompt only: the model returns none for image and prefix.
        return {
            "optimizer": optimizer,
            "loss": WordLoss(),
            "metrics": [TokenAccuracy()],
        }

    def describe_needs(self, model) -> list[tuple[str, str]]:
        """See `Task`."""
        _, trained = model.count_parameters()
        batch = self.config.batch_size
        sizes = memory.measure(model, batch, DecodingConfig())
        rows = [
            ("weights, trained", f"{trained:,}"),
            (f"to serve {batch} at once", format_megabytes(sizes.served)),
        ]
        if self._source is not None:
            download = language_bases.count_download(self._source, self.config.preset)
            rows.append(("base, to download", format_megabytes(download)))
        return rows

    def fit(
        self,
        model: keras.Model,
        state: dict,
        deadline: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> list[dict]:
        """See `Task`; out of memory, it starts again with more rounds per batch."""
        began = model.get_weights()
        while True:
            try:
                return super().fit(model, state, deadline, callbacks)
            except tf.errors.ResourceExhaustedError:
                self.config = out_of_memory.halve(self.config, self.run_dir)
            with model.distribute_strategy.scope():
                model.set_weights(began)
                self.compile_model(model)

    def training_batches(self, model, epochs, skip=0, share=None):
        """See `Task`."""
        reading = self.read_training(model, epochs, skip, share)
        max_tokens = self.config.max_subwords
        return caption_batches.training_batches(reading, self.vocabulary, max_tokens)

    def validation_batches(self, model, share=None):
        """See `Task`."""
        reading = self.read_validation(model, share)
        max_tokens = self.config.max_subwords
        return caption_batches.validation_batches(reading, self.vocabulary, max_tokens)
