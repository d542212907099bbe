"""The task of a CLIP interrogator: which prompt belongs to which picture."""

import pathlib

import keras

from tf_prompt.data import contrastive_batches, records, targets, text
from tf_prompt.data import folder as data_folder
from tf_prompt.data.reading import Reading
from tf_prompt.interrogation import clip_tokens, phrases
from tf_prompt.models import presets
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig, settings
from tf_prompt.training.losses import ContrastiveAccuracy, ContrastiveLoss
from tf_prompt.training.optimizers import BatchAdamW
from tf_prompt.training.schedules import WarmUpCosine

# Weights of the architecture `base`.
PRETRAINED = "clip_vit_base_patch16"
# Of the byte pairs learned where a CLIP is trained from the start.
_VOCAB_SIZE = 2048
# Share of prompts cut to a few words. On the toy set's validation split it took
# the MiniLM cosine of `classic` prompts from 0.63 to 0.68.
_SPAN_RATE = 0.5


class InterrogationTask:
    """Data, model and loss of a run that scores phrases; makes the phrases too.

    A CLIP without pretrained weights is trained from the start, on byte pairs of
    the training prompts; a pretrained one keeps its own tokenizer, and with
    `epochs=0` its weights. The run's folder gets `tokenizer/` and `phrases/`.

    Args:
        config: the run's options, completed.
        run_dir: folder of the run.
        folder: shards.

    Attributes:
        num_examples: images of an epoch.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if a pretrained CLIP is not within reach, or no phrase is found.
    """

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        self.config, self.folder, self._run_dir = config, folder, run_dir
        counts, self.num_examples = data_folder.count_words(folder)
        self._vocabulary = text.build_vocabulary(counts, config.vocab_size)
        self._source = self._find_source()
        if self._source is None:
            self._tokenizer = clip_tokens.build_tokenizer(counts, _VOCAB_SIZE)
        else:
            self._tokenizer = clip_tokens.load_tokenizer(self._source)
        self._tokens = None
        tables = phrases.build_tables(
            prompt
            for shard in records.list_shards(folder, "train")
            for prompt in targets.read_prompts(shard)
        )
        if not tables:
            raise ValueError(
                f"data must hold phrases that {phrases.MIN_COUNT} prompts share. "
                f"Received: {folder}"
            )
        phrases.write_tables(tables, run_dir / run_folder.PHRASES)

    def _find_source(self) -> str | None:
        """Preset or folder of pretrained weights; None trains from the start."""
        config = self.config
        if config.backbone_weights == "random":
            return None
        own = PRETRAINED if config.preset == "clip_interrogator_base" else None
        return config.backbone_weights or config.backbone or own

    def build_model(self) -> keras.Model:
        """Builds the model, pretrained weights in place, and saves its tokenizer."""
        config = self.config
        overrides = {
            "rotation_degrees": config.rotation_degrees,
            "flip": config.flip,
            "erasing_rate": config.erasing_rate,
            **settings(config.set),
        }
        if self._source is None:
            overrides["vocab_size"] = self._tokenizer.vocabulary_size()
        else:
            overrides.update(clip=self._source, image_size=None)
        model = presets.build(config.preset, **overrides)
        # A CLIP that has seen words only must be asked in words only.
        self._tokens = clip_tokens.CLIPTokens(
            self._tokenizer, model.max_tokens, words_only=self._source is None
        )
        self._tokens.save(self._run_dir / run_folder.TOKENIZER)
        return model

    def compile_model(self, model: keras.Model, steps_per_epoch: int) -> None:
        """Gives the model AdamW, the contrastive loss and its accuracy."""
        config = self.config
        compile_model(
            model,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_steps,
            total_steps=max(1, config.epochs * steps_per_epoch),
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
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
        return contrastive_batches.training_batches(
            reading,
            self._vocabulary,
            self._tokens,
            self.config.max_words,
            _SPAN_RATE,
        )

    def validation_batches(self, model: keras.Model, share=None):
        """The validation split, once."""
        reading = Reading(
            folder=self.folder,
            image_size=model.image_size,
            batch_size=self.config.batch_size,
            share=share,
        )
        return contrastive_batches.validation_batches(
            reading, self._vocabulary, self._tokens, self.config.max_words
        )


def compile_model(
    model: keras.Model,
    *,
    learning_rate: float,
    warmup_steps: int,
    total_steps: int,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
) -> None:
    """Gives a `CLIPInterrogator` AdamW, warm-up and cosine decay, loss and accuracy.

    Args:
        model: the model.
        learning_rate: float > 0, the peak.
        warmup_steps: int >= 0.
        total_steps: int > 0, of the whole run.
        weight_decay: float >= 0, decoupled; the temperature is left out of it.
        clip_norm: float > 0, largest norm of the gradients together.
    """
    schedule = WarmUpCosine(learning_rate, warmup_steps, total_steps)
    optimizer = BatchAdamW(
        schedule, weight_decay=weight_decay, global_clipnorm=clip_norm
    )
    optimizer.exclude_from_weight_decay(
        var_names=["logit_scale", "gamma", "beta", "bias"]
    )
    # Batches differ in length: XLA would compile again for each.
    model.compile(
        optimizer,
        loss=ContrastiveLoss(),
        metrics=[ContrastiveAccuracy()],
        jit_compile=False,
    )
