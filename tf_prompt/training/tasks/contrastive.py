"""The task of a CLIP interrogator: match prompts with images."""

import pathlib

import keras

from tf_prompt.data import contrastive_batches, records, targets, text
from tf_prompt.data import folder as data_folder
from tf_prompt.interrogation import clip_tokens, phrases
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training.losses import ContrastiveAccuracy, ContrastiveLoss
from tf_prompt.training.optimizers import BatchAdamW
from tf_prompt.training.tasks.task import Task

# Pretrained weights of the architecture `base`.
PRETRAINED = "clip_vit_base_patch16"
# Size of the vocabulary of byte pairs for a CLIP that is trained from scratch.
_VOCAB_SIZE = 2048
# Share of prompts cut to a few words. On the toy set's validation split this raised
# the MiniLM cosine of `classic` prompts from 0.63 to 0.68.
_SPAN_RATE = 0.5


class InterrogationTask(Task):
    """Data, model and loss of a CLIP interrogator's run; also builds its phrases.

    A CLIP without pretrained weights is trained from scratch, with a tokenizer learned
    from the training prompts. A pretrained one keeps its tokenizer, and with
    `epochs=0` its weights. The tokenizer is saved to `tokenizer/` in the run's folder,
    the phrases to `phrases/`.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if a pretrained CLIP is not available, or no phrase is found.
    """

    # Without accumulate_steps: an image would have fewer texts to choose from.
    options = Task.options | {"vocab_size", "max_words", "backbone"}
    # A large batch, because it gives more pairs to tell apart.
    recipe = {"epochs": 8, "batch_size": 128, "learning_rate": 2e-3, "flip": True}

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        counts, self.num_examples = data_folder.count_words(folder)
        self._vocabulary = text.build_vocabulary(counts, config.vocab_size)
        self._source = self._find_source()
        if self._source is not None:
            self._tokenizer = clip_tokens.load_tokenizer(self._source)
        elif self.has_result(run_dir):
            # The one that the checkpoints were trained with: an earlier version ordered
            # pairs of equal counts at random.
            self._tokenizer = clip_tokens.load_tokenizer(run_dir / run_folder.TOKENIZER)
        else:
            self._tokenizer = clip_tokens.build_tokenizer(counts, _VOCAB_SIZE)
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

    @classmethod
    def check(cls, config: FitConfig) -> None:
        """See `Task`; with `epochs=0` a pretrained CLIP is used as it is."""

    def _find_source(self) -> str | None:
        """Preset or folder of pretrained weights; None trains from scratch."""
        config = self.config
        if config.backbone_weights == "random":
            return None
        own = PRETRAINED if config.preset == "clip_interrogator_base" else None
        return config.backbone_weights or config.backbone or own

    def overrides(self) -> dict:
        """See `Task`."""
        own = {"clip": self._source, "image_size": None}
        if self._source is None:
            own = {"vocab_size": self._tokenizer.vocabulary_size()}
        return {**super().overrides(), **own}

    def build_model(self) -> keras.Model:
        """See `Task`; saves the model's tokenizer too."""
        model = super().build_model()
        # A CLIP that was trained on words only must be given words only.
        self._tokens = clip_tokens.CLIPTokens(
            self._tokenizer, model.max_tokens, words_only=self._source is None
        )
        self._tokens.save(self.run_dir / run_folder.TOKENIZER)
        return model

    @classmethod
    def _learning(cls, model, config, schedule, steps_per_epoch):
        optimizer = BatchAdamW(
            schedule,
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
        )
        # This includes the temperature.
        optimizer.exclude_from_weight_decay(
            var_names=["logit_scale", "gamma", "beta", "bias"]
        )
        return {
            "optimizer": optimizer,
            "loss": ContrastiveLoss(),
            "metrics": [ContrastiveAccuracy()],
        }

    def training_batches(self, model, epochs, skip=0, share=None):
        """See `Task`."""
        return contrastive_batches.training_batches(
            self.read_training(model, epochs, skip, share),
            self._vocabulary,
            self._tokens,
            self.config.max_words,
            _SPAN_RATE,
        )

    def validation_batches(self, model, share=None):
        """See `Task`."""
        return contrastive_batches.validation_batches(
            self.read_validation(model, share),
            self._vocabulary,
            self._tokens,
            self.config.max_words,
        )
