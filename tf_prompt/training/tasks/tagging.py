"""The task of a tagger: images in, the modifiers of their prompts out."""

import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from tf_prompt.data import modifier_batches
from tf_prompt.models.encoders import CONVOLUTIONS
from tf_prompt.models.tagger import THRESHOLD
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.model_file import load_model_file
from tf_prompt.training.losses import AsymmetricLoss
from tf_prompt.training.optimizers import OnePassAdamW
from tf_prompt.training.tasks.cached_regions import cached_regions
from tf_prompt.training.tasks.modifiers import TaggerTask, choose_threshold
from tf_prompt.training.tasks.task import Task

# How far an image may move a modifier's log odds from those of its frequency, relative
# to the logits of the trained model.
SLOPES = (0.1, 0.25, 0.5, 0.75, 1.0)


class TaggingTask(TaggerTask):
    """Data, model and loss of a run that predicts modifiers.

    After the last epoch, the best model gets the threshold with the highest F1 on the
    validation split, and its logits are calibrated if that raises F1: their mean
    becomes the log odds of a modifier's frequency in training, and a common slope
    shrinks what they say of an image. A few hundred images teach a tagger less about a
    modifier than its frequency does.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: as `TaggerTask`.
    """

    options = Task.options | {
        *(*TaggerTask.own_options, "cache_features", "views", "backbone", "image_size"),
    }
    _arguments = (*Task._arguments, "image_size", "backbone")
    _names = {"backbone": "encoder"}
    recipe = {"epochs": 20, "batch_size": 32, "learning_rate": 1e-3, "flip": True}
    report_metrics = ("bleu", "meteor")

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        self._training, self._validation = (
            modifier_batches.ModifierTargets(folder, split, self.modifiers)
            for split in ("train", "validation")
        )
        self.num_examples = self._training.num_examples

    def build_model(self) -> keras.Model:
        """See `Task`.

        Raises:
            ValueError: if pretrained weights are missing, or given but not used.
        """
        model = super().build_model()
        encoder = self.argument("encoder")
        if encoder != CONVOLUTIONS and not self.load_backbone(
            model.image_encoder, encoder
        ):
            raise ValueError(
                f"{encoder} has no pretrained weights: give --backbone-weights. "
                f"Received: --backbone {encoder}"
            )
        if self.config.cache_features and model.image_encoder.trainable_weights:
            raise ValueError(
                "cache_features needs a frozen encoder. Received: one that is trained"
            )
        return model

    @classmethod
    def _learning(cls, model, config, schedule, steps_per_epoch):
        optimizer = OnePassAdamW(
            schedule,
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
        )
        area = keras.metrics.AUC(curve="PR", from_logits=True, name="pr_auc")
        return {"optimizer": optimizer, "loss": AsymmetricLoss(), "metrics": [area]}

    def training_batches(self, model, epochs, skip=0, share=None):
        """See `Task`."""
        return modifier_batches.training_batches(
            self.read_training(model, epochs, skip, share),
            self._training,
            cached_regions(self, model, "train"),
        )

    def validation_batches(self, model, share=None):
        """See `Task`."""
        return modifier_batches.validation_batches(
            self.read_validation(model, share),
            self._validation,
            cached_regions(self, model, "validation"),
        )

    def fit(
        self,
        model: keras.Model,
        state: dict,
        deadline: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> list[dict]:
        """See `Task`; the best model is calibrated at the end."""
        history = super().fit(model, state, deadline, callbacks)
        path = self.run_dir / run_folder.BEST_MODEL
        best = load_model_file(path)
        # Another threshold was given, or fitted before.
        if best.threshold == THRESHOLD and self._validation.counts.any():
            self._calibrate(best)
            run_folder.save_model(best, path)
        return history

    def _calibrate(self, model):
        logits = np.concatenate(
            [
                keras.ops.convert_to_numpy(model(inputs))
                for inputs, _ in self.validation_batches(model)
            ]
        )
        odds, mean = self._training.log_odds(), logits.mean(axis=0)
        # As it was trained, or shrunk.
        changes = [(1.0, np.zeros_like(mean))]
        changes += [(slope, odds - slope * mean) for slope in SLOPES]
        flags, counts = self._validation.flags(), self._validation.counts
        best_f1 = -1.0
        for slope, shift in changes:
            probabilities = keras.ops.sigmoid(slope * logits + shift)
            probabilities = keras.ops.convert_to_numpy(probabilities)
            threshold, f1 = choose_threshold(probabilities, flags, counts)
            if f1 > best_f1:
                best_f1, model.threshold, change = f1, threshold, (slope, shift)
        model.rescale(*change)
