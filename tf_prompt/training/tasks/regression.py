"""The task of a regressor: images in, embeddings of their prompts out."""

import pathlib
import sys

import keras

from tf_prompt.data import embedding_batches, targets
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import losses, optimizers
from tf_prompt.training.tasks.task import Task


class RegressionTask(Task):
    """Data, model and loss of a run that predicts prompt embeddings.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if MiniLM cannot be loaded.
    """

    options = Task.options | {
        *("backbone", "image_size", "loss", "head_epochs", "layer_decay", "ema"),
        *("one_image_per_prompt", "accumulate_steps"),
    }
    recipe = {
        "epochs": 8,
        "batch_size": 64,
        "learning_rate": 1e-3,
        # Mirrored images harmed the competition's leaders: prompts say left and
        # right.
        "flip": False,
        "loss": "cosine_mse",
    }
    _arguments = (*Task._arguments, "backbone", "image_size")

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        self._targets = targets.target_shards(folder, "train")
        self._validation_targets = targets.target_shards(folder, "validation")
        self._prompt_ids = None
        self.num_examples = targets.count_targets(self._targets)
        if config.one_image_per_prompt:
            self._prompt_ids = embedding_batches.number_prompts(folder)
            self.num_examples = int(self._prompt_ids.max()) + 1

    def build_model(self) -> keras.Model:
        """See `Task`.

        Raises:
            ValueError: if pretrained weights are missing.
        """
        model = super().build_model()
        name = self.argument("backbone")
        if not self.load_backbone(model.image_backbone, name):
            print(
                f"{name} has no pretrained weights: it starts from random ones",
                file=sys.stderr,
            )
        return model

    @classmethod
    def _learning(cls, model, config, schedule, steps_per_epoch):
        optimizer = optimizers.rate_by_layer(
            model.image_backbone,
            config,
            schedule,
            steps_per_epoch,
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
            gradient_accumulation_steps=optimizers.accumulation(config),
            use_ema=config.ema > 0,
            ema_momentum=config.ema or 0.99,
        )
        return {
            "optimizer": optimizer,
            "loss": losses.build_loss(config.loss),
            "metrics": [keras.metrics.CosineSimilarity(name="cosine")],
        }

    def training_batches(self, model, epochs, skip=0, share=None):
        """See `Task`."""
        reading = self.read_training(model, epochs, skip, share)
        return embedding_batches.training_batches(
            reading, self._targets, self._prompt_ids
        )

    def validation_batches(self, model, share=None):
        """See `Task`."""
        return embedding_batches.split_batches(
            self.read_validation(model, share), "validation", self._validation_targets
        )
