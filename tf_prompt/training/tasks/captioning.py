"""The task of a captioner: an image and the words so far in, the next word out."""

import hashlib
import pathlib
import zlib

import keras
import tensorflow as tf

from tf_prompt.data import caption_batches, region_cache, text
from tf_prompt.data import folder as data_folder
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.models import backbones
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training.losses import TokenAccuracy, WordLoss
from tf_prompt.training.optimizers import OnePassAdamW, accumulation
from tf_prompt.training.tasks.task import Task

# A view is a draw of all augmentation, the flip that is on by default among it.
DEFAULT_VIEWS = 4


class CaptioningTask(Task):
    """Data, model and loss of a run that writes prompts.

    The vocabulary is made from the training split the first time, and read from
    the run's folder after that.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if the vocabulary would be too small.
    """

    options = Task.options | {
        *("vocab_size", "max_words", "cache_features", "views", "accumulate_steps")
    }
    derived = {"vocab_size": "vocab_size", "max_tokens": "max_words"}
    recipe = {"epochs": 9, "batch_size": 64, "learning_rate": 2e-3, "flip": True}
    report_metrics = ("bleu", "meteor")

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        counts, self.num_examples = data_folder.count_words(folder)
        path = run_dir / run_folder.VOCABULARY
        if not path.is_file():
            vocabulary = text.build_vocabulary(counts, config.vocab_size)
            text.write_vocabulary(vocabulary, path)
        self.vocabulary = text.read_vocabulary(path)

    def overrides(self) -> dict:
        """See `Task`."""
        return {
            "vocab_size": len(self.vocabulary),
            "max_tokens": self.config.max_words + 1,
            **super().overrides(),
        }

    def build_model(self) -> keras.Model:
        """See `Task`.

        Raises:
            ValueError: if pretrained weights are not at hand, or not wanted.
        """
        config, model = self.config, super().build_model()
        if model.encoder in backbones.ARCHITECTURES:
            if config.backbone_weights != "random":
                own = backbones.ARCHITECTURES[model.encoder].preset
                source = config.backbone_weights or own
                backbones.load_weights(model.image_encoder, source)
        elif config.backbone_weights:
            raise ValueError(
                f"backbone_weights goes with a pretrained encoder; that of "
                f"{config.preset} is trained from the start. "
                f"Received: {config.backbone_weights}"
            )
        if config.cache_features and model.image_encoder.trainable_weights:
            raise ValueError(
                "cache_features goes with a frozen encoder, such as resnet50. "
                f"Received: encoder={model.encoder}, which learns"
            )
        return model

    @classmethod
    def _learning(cls, model, config, schedule, steps_per_epoch):
        return {
            "optimizer": OnePassAdamW(
                schedule,
                weight_decay=config.weight_decay,
                global_clipnorm=config.clip_norm,
                gradient_accumulation_steps=accumulation(config),
            ),
            # Padding and the mean over words are in the weights of `weigh_words`.
            "loss": WordLoss(),
            "metrics": [TokenAccuracy()],
        }

    def training_batches(self, model, epochs, skip=0, share=None):
        """See `Task`."""
        reading = self.read_training(model, epochs, skip, share)
        features = self._features(model, "train")
        return caption_batches.training_batches(
            reading, self.vocabulary, self.config.max_words, features
        )

    def validation_batches(self, model, share=None):
        """See `Task`."""
        features = self._features(model, "validation")
        return caption_batches.validation_batches(
            self.read_validation(model, share),
            self.vocabulary,
            self.config.max_words,
            features,
        )

    def _features(self, model, split):
        """Gives the cached regions of a split, None where images are read."""
        if not self.config.cache_features:
            return None
        augmentation = Augmentation(
            model.rotation_degrees, model.flip, model.erasing_rate
        )
        augments = split == "train" and bool(augmentation.steps)
        signature = {
            "encoder": _fingerprint(model.image_encoder),
            "image_size": model.image_size,
        }
        if augments:
            signature["augmentation"] = [
                model.rotation_degrees,
                model.flip,
                model.erasing_rate,
            ]
            signature["seed"] = self.config.seed
        return region_cache.cached_features(
            self.folder,
            split,
            _extractor(model, augmentation if augments else None, self.config.seed),
            signature=signature,
            image_size=model.image_size,
            shape=model.image_encoder.output_shape[1:],
            num_views=(self.config.views or DEFAULT_VIEWS) if augments else 1,
        )


def _fingerprint(encoder) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for weight in encoder.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


def _extractor(model, augmentation, seed):
    """Makes the function that `cached_features` wants; None does not augment."""
    size = model.image_size
    encoder = model.image_encoder
    # Half precision is for training: the cache serves other runs too.
    pictures = tf.TensorSpec((None, size, size, 3), tf.uint8)

    @tf.function(input_signature=[pictures], autograph=False)
    def run(images):
        images = tf.cast(images, tf.float32)
        if augmentation:
            images = augmentation(images, training=True)
        return encoder(images, training=False)

    def extract(images, seeds):
        if augmentation:
            for number, step in enumerate(augmentation.steps):
                state = (zlib.crc32(repr((seed, number, *seeds)).encode()), 0)
                step.generator.state.assign(state)
        return run(images).numpy()

    return extract
