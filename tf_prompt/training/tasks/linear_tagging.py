"""The task of a linear tagger: one ridge regression for all modifiers."""

import pathlib

import keras
import numpy as np

from tf_prompt.data import records
from tf_prompt.data.modifier_batches import ModifierTargets
from tf_prompt.data.vectors import unit_rows
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training.ridge import fit_ridge_by_family, require_families
from tf_prompt.training.tasks.frozen import FrozenEncoderTask, standardise
from tf_prompt.training.tasks.mean_regions import regions_and_style
from tf_prompt.training.tasks.modifiers import (
    check_subject,
    choose_threshold,
    open_modifiers,
)


class LinearTaggingTask(FrozenEncoderTask):
    """Fits a linear tagger without gradient descent.

    The penalty is chosen in the training split, on families that a fit has not seen;
    the threshold on the validation split. A new run chooses its modifiers from the
    training split; a resumed run reads them from its folder.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
        ValueError: if no modifier is frequent enough, all training prompts are of one
            family, or a part of the run that writes the subject is damaged.
    """

    options = FrozenEncoderTask.options | {"modifier_prompts", "members"}
    derived = {"num_modifiers": "modifier_prompts"}

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        check_subject(config.members)
        self.modifiers = open_modifiers(run_dir, folder, config.modifier_prompts)

    def overrides(self) -> dict:
        """See `Task`."""
        return {"num_modifiers": len(self.modifiers), **super().overrides()}

    def _fit(self, model: keras.Model) -> None:
        families = records.number_families(self.folder, "train")
        require_families(families)
        features, style = regions_and_style(self, model, "train")
        if model.style_dim:
            model.style_proj.set_weights(standardise(style))
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
    """Scales style as `FrozenEncoder.look` does; float16."""
    if not model.style_dim:
        return style.astype(np.float16)
    kernel, bias = model.style_proj.get_weights()
    return unit_rows(style @ kernel + bias).astype(np.float16)
