"""The task of a captioner: predict the next word from an image and earlier words."""

import pathlib

import keras

from tf_prompt.data import caption_batches, targets, text, vocabulary
from tf_prompt.data import folder as data_folder
from tf_prompt.models.encoders import CONVOLUTIONS
from tf_prompt.runs.config import FitConfig
from tf_prompt.training.losses import TokenAccuracy, WordLoss
from tf_prompt.training.optimizers import (
    OnePassAdamW,
    accumulation,
    rate_by_layer,
)
from tf_prompt.training.tasks.cached_regions import cached_regions
from tf_prompt.training.tasks.task import Task


class CaptioningTask(Task):
    """Data, model and loss of a captioner's run.

    A new run builds its vocabulary from the training split; a resumed run reads it
    from its folder.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if the vocabulary would be too small.
    """

    options = Task.options | {
        *("vocab_size", "max_words", "cache_features", "views", "accumulate_steps"),
        *("backbone", "image_size", "train_backbone", "head_epochs", "layer_decay"),
        *("tokens", "max_subwords", "fold_case"),
        *("dropout_rate", "label_smoothing", "tie_weights", "ema"),
        "scheduled_sampling",
    }
    _arguments = (
        *(*Task._arguments, "image_size", "backbone"),
        *("dropout_rate", "label_smoothing", "tie_weights"),
    )
    _names = {"backbone": "encoder"}
    derived = {"vocab_size": "vocab_size", "max_tokens": "max_words"}
    recipe = {
        **{"epochs": 9, "batch_size": 64, "learning_rate": 2e-3, "flip": True},
        "tokens": "words",
    }
    report_metrics = ("bleu", "meteor")
    # Whether the model's inputs contain the family of each training prompt.
    with_families = False

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        self.num_examples = data_folder.count_examples(folder, "train")
        if not (run_dir / vocabulary.TOKENS).is_file():
            self._build_vocabulary().write(run_dir)
        self.vocabulary = vocabulary.read(run_dir, config.tokens, config.fold_case)

    def _build_vocabulary(self):
        config = self.config
        if config.tokens == "words":
            counts, _ = data_folder.count_words(self.folder)
            return vocabulary.WordVocabulary(
                text.build_vocabulary(counts, config.vocab_size)
            )
        prompts = targets.read_split(self.folder, "train")
        return vocabulary.build_subwords(prompts, config.vocab_size, config.fold_case)

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens per prompt, without the end token."""
        is_raw = self.vocabulary.is_raw
        return self.config.max_subwords if is_raw else self.config.max_words

    @classmethod
    def check(cls, config: FitConfig) -> None:
        """See `Task`; options of a trained backbone need one."""
        super().check(config)
        for name in ("head_epochs", "layer_decay"):
            value = getattr(config, name)
            if not config.train_backbone and value != getattr(FitConfig, name):
                raise ValueError(f"{name} needs --train-backbone. Received: {value}")
        if config.scheduled_sampling and config.epochs < 2:
            raise ValueError(
                "scheduled_sampling needs at least two epochs: its share is 0 in the "
                f"first. Received: {config.epochs}"
            )

    def overrides(self) -> dict:
        """See `Task`."""
        config = self.config
        found = {
            "vocab_size": len(self.vocabulary),
            "max_tokens": self.max_tokens + 1,
            "train_encoder": config.train_backbone,
        }
        return {**found, **super().overrides()}

    def build_model(self) -> keras.Model:
        """See `Task`.

        Raises:
            ValueError: if pretrained weights are missing, or given but not used.
        """
        model = super().build_model()
        encoder = self.argument("encoder")
        if encoder == CONVOLUTIONS:
            self._refuse_pretrained()
        elif not self.load_backbone(model.image_encoder, encoder) and (
            not self.config.train_backbone
        ):
            raise ValueError(
                f"{encoder} has no pretrained weights: give --backbone-weights, or "
                f"train it with --train-backbone. Received: --backbone {encoder}"
            )
        if self.config.cache_features and model.image_encoder.trainable_weights:
            raise ValueError(
                "cache_features needs a frozen encoder, such as resnet50. "
                "Received: one that is trained"
            )
        return model

    def _refuse_pretrained(self):
        for name in ("backbone_weights", "train_backbone"):
            if value := getattr(self.config, name):
                raise ValueError(
                    f"{name} needs a pretrained encoder; that of "
                    f"{self.config.preset} is trained from scratch. Received: {value}"
                )

    @classmethod
    def _learning(cls, model, config, schedule, steps_per_epoch):
        options = {
            "weight_decay": config.weight_decay,
            "global_clipnorm": config.clip_norm,
            "gradient_accumulation_steps": accumulation(config),
            "use_ema": config.ema > 0,
            "ema_momentum": config.ema or 0.99,
        }
        optimizer = OnePassAdamW(schedule, **options)
        if config.train_backbone:
            optimizer = rate_by_layer(
                model.image_encoder, config, schedule, steps_per_epoch, **options
            )
        return {
            "optimizer": optimizer,
            # Padding and the mean over words are in the weights of `weigh_words`.
            "loss": WordLoss(),
            "metrics": [TokenAccuracy()],
        }

    def training_batches(self, model, epochs, skip=0, share=None):
        """See `Task`."""
        reading = self.read_training(model, epochs, skip, share)
        features = cached_regions(self, model, "train")
        return caption_batches.training_batches(
            reading, self.vocabulary, self.max_tokens, features, self.with_families
        )

    def validation_batches(self, model, share=None):
        """See `Task`."""
        features = cached_regions(self, model, "validation")
        return caption_batches.validation_batches(
            self.read_validation(model, share),
            self.vocabulary,
            self.max_tokens,
            features,
        )
