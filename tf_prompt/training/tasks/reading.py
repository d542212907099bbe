"""The task of a captioner that reads the prompts of similar training images."""

from collections.abc import Sequence

import keras

from tf_prompt.data import caption_batches
from tf_prompt.training.tasks.captioning import CaptioningTask
from tf_prompt.training.tasks.mean_regions import mean_regions


class ReadingTask(CaptioningTask):
    """Fills the model's index with the training split, then trains it as a captioner.

    In training an image does not see the prompts of its own family, just as a new
    image will not.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError, ValueError: as `CaptioningTask`.
    """

    options = CaptioningTask.options - {
        *("train_backbone", "head_epochs", "layer_decay", "label_smoothing"),
    }
    derived = {**CaptioningTask.derived, "index_size": "data"}
    with_families = True

    def overrides(self) -> dict:
        """See `Task`."""
        return {"index_size": self.num_examples, **super().overrides()}

    def build_model(self) -> keras.Model:
        """See `Task`.

        Raises:
            ValueError: as `CaptioningTask`; also for an encoder that is trained, since
                its index would soon be out of date.
        """
        model = super().build_model()
        if model.image_encoder.trainable_weights:
            raise ValueError(
                f"preset {self.config.preset} needs a frozen encoder, such as "
                "efficientnet_lite0. Received: one that is trained"
            )
        return model

    def fit(
        self,
        model: keras.Model,
        state: dict,
        deadline: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> list[dict]:
        """See `Task`; checkpoints hold the index."""
        if not state:
            token_ids, families = caption_batches.read_index(
                self.folder, self.vocabulary, self.max_tokens
            )
            features = mean_regions(self, model, "train")
            model.fill_index(features, token_ids, families)
        return super().fit(model, state, deadline, callbacks)
