"""Shared parts of tasks whose models have a frozen encoder and no epochs."""

import pathlib
import sys

import keras
import numpy as np

from tf_prompt.models.encoders import CONVOLUTIONS
from tf_prompt.runs import folder as run_folder
from tf_prompt.training.tasks.at_once import AtOnceTask


class FrozenEncoderTask(AtOnceTask):
    """A task of a `FrozenEncoder`; subclasses define `_fit`.

    Args:
        config, run_dir, folder: see `Task`.
    """

    options = AtOnceTask.options | {
        *("backbone", "backbone_weights", "image_size", "cache_features"),
    }
    report_metrics = ("bleu", "meteor")
    _arguments = ("image_size", "backbone")
    _names = {"backbone": "encoder"}

    def build_model(self) -> keras.Model:
        """See `Task`.

        Raises:
            ValueError: if pretrained weights are missing.
        """
        model = super().build_model()
        if self.config.cache_features and model.style_dim:
            print(
                "cache_features: not used, because style needs the images",
                file=sys.stderr,
            )
        encoder = self.argument("encoder")
        if encoder == CONVOLUTIONS:
            print(
                f"the encoder of {self.config.preset} has random weights: it sees "
                "colours and little else",
                file=sys.stderr,
            )
        elif not self.load_backbone(model.image_encoder, encoder):
            raise ValueError(
                f"{encoder} has no pretrained weights: give --backbone-weights. "
                f"Received: --backbone {encoder}"
            )
        return model

    @classmethod
    def has_result(cls, run_dir: pathlib.Path) -> bool:
        """See `Task`."""
        return (run_dir / run_folder.BEST_MODEL).is_file()

    def load_state(self, model: keras.Model, run_dir: pathlib.Path) -> dict:
        """See `Task`; `done` is True if the run is complete."""
        return {"done": True} if self.has_result(run_dir) else {}


def fit_style(model: keras.Model, style) -> None:
    """Sets `style_proj` so that each column has the mean 0 and a similar deviation.

    Args:
        model: a `FrozenEncoder`; changed if it has style.
        style: float32 `(images, style_dim)`, of the training images.
    """
    if not model.style_dim:
        return
    means, deviations = style.mean(axis=0), style.std(axis=0)
    # Columns that hardly vary in training would count most.
    scale = 1 / (deviations + max(deviations.mean(), 1e-6))
    model.style_proj.set_weights([np.diag(scale), -means * scale])


def scale_style(model: keras.Model, style) -> np.ndarray:
    """Applies `style_proj`, if the model has style; float32 `(images, style_dim)`."""
    return model.style_proj(style).numpy() if model.style_dim else style
