"""The task of a captioner: an image and the words so far in, the next word out."""

import hashlib
import pathlib
import zlib

import keras
import tensorflow as tf

from tf_prompt.data import caption_batches, region_cache, text
from tf_prompt.data import folder as data_folder
from tf_prompt.data.reading import Reading
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.models import backbones, presets
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig, settings
from tf_prompt.training.losses import TokenAccuracy, WordLoss
from tf_prompt.training.optimizers import OnePassAdamW, accumulation
from tf_prompt.training.schedules import WarmUpCosine

# A view is a draw of all augmentation, the flip that is on by default among it.
DEFAULT_VIEWS = 4


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
        counts, self.num_examples = data_folder.count_words(folder)
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
        if model.encoder in backbones.PRETRAINED:
            if config.backbone_weights != "random":
                backbones.load_backbone_weights(
                    model.image_encoder, model.encoder, config.backbone_weights
                )
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

    def compile_model(self, model: keras.Model, steps_per_epoch: int) -> None:
        """Gives the model AdamW, warm-up and cosine decay, loss and accuracy."""
        compile_captioner(model, self.config, steps_per_epoch)

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
        features = self._features(model, "train")
        return caption_batches.training_batches(
            reading, self.vocabulary, self.config.max_words, features
        )

    def validation_batches(self, model: keras.Model, share=None):
        """The validation split, once."""
        reading = Reading(
            folder=self.folder,
            image_size=model.image_size,
            batch_size=self.config.batch_size,
            share=share,
        )
        features = self._features(model, "validation")
        return caption_batches.validation_batches(
            reading, self.vocabulary, self.config.max_words, features
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


def compile_captioner(model: keras.Model, config: FitConfig, steps_per_epoch: int):
    """Does the work of `CaptioningTask.compile_model`, for any completed config."""
    schedule = WarmUpCosine(
        config.learning_rate, config.warmup_steps, config.epochs * steps_per_epoch
    )
    model.compile(
        OnePassAdamW(
            schedule,
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
            gradient_accumulation_steps=accumulation(config),
        ),
        # Padding and the mean over words are in the weights of `weigh_words`.
        loss=WordLoss(),
        metrics=[TokenAccuracy()],
        # Batches differ in length: XLA would compile again for each.
        jit_compile=False,
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

    @tf.function(input_signature=[pictures])
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
