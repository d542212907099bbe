"""What a preset is trained with where the user does not say."""

import dataclasses

from tf_prompt.config import FitConfig
from tf_prompt.models import presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.regressor import EmbeddingRegressor

_CAPTIONER = {"epochs": 9, "learning_rate": 2e-3, "flip": True}
# Mirrored pictures harmed the competition's leaders: prompts say left and right.
_REGRESSOR = {"epochs": 8, "learning_rate": 1e-3, "flip": False, "loss": "cosine"}
RECIPES = {
    "lstm_base": _CAPTIONER,
    "transformer_base": _CAPTIONER,
    "lstm_tiny": _CAPTIONER,
    "transformer_tiny": _CAPTIONER,
    # A pretrained backbone loses what it knows at the rate of a new one.
    "vit_regressor_base": {**_REGRESSOR, "epochs": 5, "learning_rate": 1e-4},
    "resnet_regressor_base": {**_REGRESSOR, "epochs": 5, "learning_rate": 1e-4},
    "vit_regressor_tiny": _REGRESSOR,
    "resnet_regressor_tiny": {**_REGRESSOR, "epochs": 4},
    # Its few weights are fitted at once, not in epochs.
    "ensemble_base": {"epochs": 1, "learning_rate": 1.0, "flip": False},
    "ensemble_tiny": {"epochs": 1, "learning_rate": 1.0, "flip": False},
}
# Options that mean nothing to other models.
_OWN = {
    Captioner: ("vocab_size", "max_words"),
    EmbeddingRegressor: (
        "backbone",
        "image_size",
        "loss",
        "head_epochs",
        "layer_decay",
        "ema",
        "one_image_per_prompt",
    ),
}


def complete(config: FitConfig) -> FitConfig:
    """Fills the options that were not given from the preset's recipe.

    Raises:
        ValueError: for an unknown preset, or an option that is given and means
            nothing to the preset.
    """
    presets.check(config.preset, {})
    model_class = presets.PRESETS[config.preset][0]
    for owner, names in _OWN.items():
        if not issubclass(model_class, owner):
            _check_untouched(config, names)
    recipe = RECIPES[config.preset]
    absent = {k: v for k, v in recipe.items() if getattr(config, k) is None}
    return dataclasses.replace(config, **absent)


def _check_untouched(config, names) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in names and value != field.default:
            raise ValueError(
                f"{field.name} must be left out with preset {config.preset}. "
                f"Received: {value}"
            )
