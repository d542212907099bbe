"""The task of a linear tagger: one ridge regression for all modifiers."""

import keras
import numpy as np

from tf_prompt.data import records
from tf_prompt.data.modifier_batches import ModifierTargets
from tf_prompt.data.vectors import unit_rows
from tf_prompt.runs import folder as run_folder
from tf_prompt.training.ridge import fit_ridge_by_family, require_families
from tf_prompt.training.tasks.frozen import FrozenEncoderTask, fit_style, scale_style
from tf_prompt.training.tasks.mean_regions import regions_and_style
from tf_prompt.training.tasks.modifiers import TaggerTask, choose_threshold


class LinearTaggingTask(TaggerTask, FrozenEncoderTask):
    """Fits a linear tagger without gradient descent.

    The penalty is chosen in the training split, on families that a fit has not seen;
    the threshold on the validation split.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: as `TaggerTask`; also if all training prompts are of one family.
    """

    options = FrozenEncoderTask.options | TaggerTask.own_options

    def _fit(self, model: keras.Model) -> None:
        families = records.number_families(self.folder, "train")
        require_families(families)
        features, style = regions_and_style(self, model, "train")
        fit_style(model, style)
        # Each factor of an inner product gets the root of the weight.
        weight = model.style_weight**0.5
        rows = np.concatenate([features, weight * _style_rows(model, style)], axis=1)
        targets = ModifierTargets(self.folder, "train", self.modifiers)
        kernel, bias = fit_ridge_by_family(rows, targets.flags, families)
        kernel[model.depth :] *= weight
        model.head.set_weights([kernel, bias])
        targets = ModifierTargets(self.folder, "validation", self.modifiers)
        if targets.counts.any():
            features, style = regions_and_style(self, model, "validation")
            seen = np.concatenate([features, _style_rows(model, style)], axis=1)
            found = np.clip(seen @ kernel + bias, 0, 1)
            model.threshold, _ = choose_threshold(
                found, targets.flags(), targets.counts
            )
        run_folder.save_model(model, self.run_dir / run_folder.BEST_MODEL)


def _style_rows(model, style) -> np.ndarray:
    return unit_rows(scale_style(model, style)).astype(np.float16)
