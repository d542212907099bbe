"""The task of a captioner: an image and the words so far in, the next word out."""

import pathlib

import keras

from tf_prompt import text
from tf_prompt.config import FitConfig, settings
from tf_prompt.data import dataset
from tf_prompt.models import encoders, presets
from tf_prompt.training import run_folder
from tf_prompt.training.accuracy import TokenAccuracy
from tf_prompt.training.schedules import WarmUpCosine


class CaptioningTask:
    """Data, model and loss of a run that writes prompts.

    The vocabulary is made from the training split the first time, and read from
    the run's folder after that.

    Args:
        config: the run's options, completed.
        run_dir: folder of the run.
        folder: shards.

    Attributes:
        num_examples: images of an epoch.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if the vocabulary would be too small.
    """

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        self.config, self.folder = config, folder
        counts, self.num_examples = dataset.count_words(folder)
        path = run_dir / run_folder.VOCABULARY
        if not path.is_file():
            vocabulary = text.build_vocabulary(counts, config.vocab_size)
            text.write_vocabulary(vocabulary, path)
        self.vocabulary = text.read_vocabulary(path)

    def build_model(self) -> keras.Model:
        """Builds the model, the pretrained weights of its backbone in place.

        Raises:
            ValueError: if these weights are not at hand, or not wanted.
        """
        config = self.config
        overrides = {
            "vocab_size": len(self.vocabulary),
            "max_tokens": config.max_words + 1,
            "rotation_degrees": config.rotation_degrees,
            "flip": config.flip,
            "erasing_rate": config.erasing_rate,
            **settings(config.set),
        }
        model = presets.build(config.preset, **overrides)
        if model.encoder in encoders.PRETRAINED:
            if config.backbone_weights != "random":
                encoders.load_backbone_weights(
                    model.image_encoder, model.encoder, config.backbone_weights
                )
        elif config.backbone_weights:
            raise ValueError(
                f"backbone_weights goes with a pretrained encoder; that of "
                f"{config.preset} is trained from the start. "
                f"Received: {config.backbone_weights}"
            )
        return model

    def compile_model(self, model: keras.Model, steps_per_epoch: int) -> None:
        """Gives the model AdamW, warm-up and cosine decay, loss and accuracy."""
        config = self.config
        schedule = WarmUpCosine(
            config.learning_rate, config.warmup_steps, config.epochs * steps_per_epoch
        )
        model.compile(
            keras.optimizers.AdamW(
                schedule,
                weight_decay=config.weight_decay,
                global_clipnorm=config.clip_norm,
            ),
            # Padding and the mean over words are in the weights of `weigh_words`.
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[TokenAccuracy()],
            # Batches differ in length: XLA would compile again for each.
            jit_compile=False,
        )

    def training_batches(self, model: keras.Model, epochs: range):
        """Batches of several epochs, one after the other."""
        return dataset.training_batches(
            self.folder,
            self.vocabulary,
            image_size=model.image_size,
            max_words=self.config.max_words,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            epochs=epochs,
            shuffle_buffer=self.config.shuffle_buffer,
        )

    def validation_batches(self, model: keras.Model):
        """The validation split, once."""
        return dataset.validation_batches(
            self.folder,
            self.vocabulary,
            image_size=model.image_size,
            max_words=self.config.max_words,
            batch_size=self.config.batch_size,
        )
