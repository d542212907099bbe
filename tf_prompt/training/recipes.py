"""What a preset is trained with where the user does not say."""

import dataclasses

from tf_prompt.models import presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.runs.config import FitConfig, settings

_CAPTIONER = {"epochs": 9, "batch_size": 64, "learning_rate": 2e-3, "flip": True}
# Mirrored pictures harmed the competition's leaders: prompts say left and right.
_REGRESSOR = {
    "epochs": 8,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "flip": False,
    "loss": "cosine_mse",
}
# More pairs in a batch, more to tell apart.
_INTERROGATOR = {"epochs": 8, "batch_size": 128, "learning_rate": 2e-3, "flip": True}
# Its few weights are fitted at once, not in epochs.
_ENSEMBLE = {"epochs": 1, "batch_size": 64, "learning_rate": 1.0, "flip": False}
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
    # OpenAI's weights are used as they are; --epochs 3 goes on from them.
    "clip_interrogator_base": {**_INTERROGATOR, "epochs": 0, "learning_rate": 1e-5},
    "clip_interrogator_tiny": _INTERROGATOR,
    "ensemble_base": _ENSEMBLE,
    "ensemble_tiny": _ENSEMBLE,
}
# Options that mean something to some models only.
_OWNERS = {
    "vocab_size": (Captioner, CLIPInterrogator),
    "max_words": (Captioner, CLIPInterrogator),
    "cache_features": (Captioner,),
    "views": (Captioner,),
    "backbone": (EmbeddingRegressor, CLIPInterrogator),
    "image_size": (EmbeddingRegressor,),
    "loss": (EmbeddingRegressor,),
    "head_epochs": (EmbeddingRegressor,),
    "layer_decay": (EmbeddingRegressor,),
    "ema": (EmbeddingRegressor,),
    "one_image_per_prompt": (EmbeddingRegressor,),
    "members": (Ensemble,),
    # Of a CLIP, a picture would have fewer texts to choose among.
    "accumulate_steps": (Captioner, EmbeddingRegressor),
}


def complete(config: FitConfig) -> FitConfig:
    """Fills the options that were not given from the preset's recipe.

    Raises:
        ValueError: for an unknown preset, or an option that is given and means
            nothing to the preset.
    """
    presets.check(config.preset, settings(config.set))
    model_class = presets.PRESETS[config.preset][0]
    for field in dataclasses.fields(config):
        owners = _OWNERS.get(field.name)
        value = getattr(config, field.name)
        if owners and value != field.default and not issubclass(model_class, owners):
            raise ValueError(
                f"{field.name} must be left out with preset {config.preset}. "
                f"Received: {value}"
            )
    recipe = RECIPES[config.preset]
    absent = {k: v for k, v in recipe.items() if getattr(config, k) is None}
    config = dataclasses.replace(config, **absent)
    if config.epochs == 0 and not issubclass(model_class, CLIPInterrogator):
        raise ValueError(
            f"epochs must be positive with preset {config.preset}. Received: 0"
        )
    return config
