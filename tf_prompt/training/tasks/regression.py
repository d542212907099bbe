"""The task of a regressor: images in, embeddings of their prompts out."""

import pathlib
import sys

import keras

from tf_prompt.data import embedding_batches, targets
from tf_prompt.data.reading import Reading
from tf_prompt.models import backbones, presets
from tf_prompt.runs.config import FitConfig, settings
from tf_prompt.training import losses, optimizers
from tf_prompt.training.optimizers import accumulation
from tf_prompt.training.schedules import WarmUpCosine


class RegressionTask:
    """Data, model and loss of a run that predicts prompt embeddings.

    Args:
        config: the run's options, completed.
        run_dir: folder of the run.
        folder: shards.

    Attributes:
        num_examples: images of an epoch.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if MiniLM cannot be loaded.
    """

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        self.config, self.folder = config, folder
        self._targets = targets.target_shards(folder, "train")
        self._validation_targets = targets.target_shards(folder, "validation")
        self._prompt_ids = None
        self.num_examples = targets.count_targets(self._targets)
        if config.one_image_per_prompt:
            self._prompt_ids = embedding_batches.number_prompts(folder)
            self.num_examples = int(self._prompt_ids.max()) + 1

    def build_model(self) -> keras.Model:
        """Builds the model, the pretrained weights of its backbone in place.

        Raises:
            ValueError: if these weights are not at hand, or there are none.
        """
        config = self.config
        overrides = {
            "rotation_degrees": config.rotation_degrees,
            "flip": config.flip,
            "erasing_rate": config.erasing_rate,
            **{
                name: getattr(config, name)
                for name in ("backbone", "image_size")
                if getattr(config, name) is not None
            },
            **settings(config.set),
        }
        model = presets.build(config.preset, **overrides)
        arguments = {**presets.PRESETS[config.preset][1], **overrides}
        self._load_backbone(model, arguments["backbone"])
        return model

    def _load_backbone(self, model, name) -> None:
        source = self.config.backbone_weights
        own = name
        if name in backbones.ARCHITECTURES:
            own = backbones.ARCHITECTURES[name][2]
        if source == "random":
            return
        if source or own:
            backbones.load_weights(model.image_backbone, source or own)
        else:
            print(
                f"{name} has no pretrained weights: it starts from random ones",
                file=sys.stderr,
            )

    def compile_model(self, model: keras.Model, steps_per_epoch: int) -> None:
        """Gives the model its optimiser, its loss and the cosine."""
        config = self.config
        backbone = model.image_backbone
        schedule = WarmUpCosine(
            config.learning_rate, config.warmup_steps, config.epochs * steps_per_epoch
        )
        optimizer = optimizers.LayerwiseAdamW(
            schedule,
            optimizers.layer_factors(backbone, config.layer_decay),
            config.head_epochs * steps_per_epoch,
            [variable.path for variable in backbone.trainable_variables],
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
            gradient_accumulation_steps=accumulation(config),
            use_ema=config.ema > 0,
            ema_momentum=config.ema or 0.99,
        )
        model.compile(
            optimizer,
            loss=losses.build_loss(config.loss),
            metrics=[keras.metrics.CosineSimilarity(name="cosine")],
            jit_compile=False,
        )

    def training_batches(
        self, model: keras.Model, epochs: range, skip: int = 0, share=None
    ):
        """Batches of several epochs, one after the other, the first `skip` left out.

        `share` is a `sharding.Share`; None gives whole batches.
        """
        reading = Reading(
            folder=self.folder,
            image_size=model.image_size,
            batch_size=self.config.batch_size,
            share=share,
            seed=self.config.seed,
            shuffle_buffer=self.config.shuffle_buffer,
            epochs=epochs,
            skip=skip,
        )
        return embedding_batches.training_batches(
            reading, self._targets, self._prompt_ids
        )

    def validation_batches(self, model: keras.Model, share=None):
        """The validation split, once."""
        reading = Reading(
            folder=self.folder,
            image_size=model.image_size,
            batch_size=self.config.batch_size,
            share=share,
        )
        return embedding_batches.split_batches(
            reading, "validation", self._validation_targets
        )
