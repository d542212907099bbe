"""Default training options of each preset."""

import dataclasses
import pathlib

from tf_prompt.data.folder import count_examples
from tf_prompt.models import language_presets, presets
from tf_prompt.runs.config import FitConfig, settings
from tf_prompt.training import tasks

# Values of a preset that replace those of its task's recipe.
_OWN: dict[str, dict] = {
    # A pretrained backbone would forget at the learning rate of a new one.
    "vit_regressor_base": {"epochs": 5, "learning_rate": 1e-4},
    "resnet_regressor_base": {"epochs": 5, "learning_rate": 1e-4},
    "resnet_regressor_tiny": {"epochs": 4},
    # OpenAI's weights are used as they are; --epochs 3 fine-tunes them.
    "clip_interrogator_base": {"epochs": 0, "learning_rate": 1e-5},
    **{name: {"epochs": 1, "learning_rate": 2e-4} for name in language_presets.SOURCES},
}
# Steps in an epoch of fewer examples than the recipe's batch.
_STEPS_OF_FEW = 4


def complete(config: FitConfig, folder: str | pathlib.Path | None = None) -> FitConfig:
    """Fills in the options that were not given, from the preset's recipe.

    Args:
        config: the given options.
        folder: folder of shards. If they hold fewer examples than the recipe's batch,
            a task with epochs takes a quarter of them instead.

    Returns:
        The options, complete.

    Raises:
        ValueError: for an unknown preset, or a given option that does not apply to the
            preset.
    """
    presets.check(config.preset, settings(config.set))
    for name, option in tasks.of(config.preset).derived.items():
        if name in settings(config.set):
            raise ValueError(
                f"set must leave {name} to --{option.replace('_', '-')}, which "
                f"determines it for preset {config.preset}. Received: "
                f"{settings(config.set)[name]}"
            )
    for field in dataclasses.fields(FitConfig):
        value = getattr(config, field.name)
        if value != field.default:
            require_meaning(config.preset, field.name, value)
    recipe = of(config.preset)
    if config.zero_shot:
        recipe["epochs"] = 0
    learns = "epochs" in tasks.of(config.preset).options
    if folder is not None and config.batch_size is None and learns:
        count = count_examples(folder, "train")
        if count < recipe["batch_size"]:
            parts = config.accumulate_steps
            recipe["batch_size"] = parts * max(1, count // _STEPS_OF_FEW // parts)
    absent = {k: v for k, v in recipe.items() if getattr(config, k) is None}
    config = dataclasses.replace(config, **absent)
    tasks.of(config.preset).check(config)
    return config


def of(preset: str) -> dict:
    """Returns the values of a preset's recipe, by option."""
    return {**tasks.of(preset).recipe, **_OWN.get(preset, {})}


def require_meaning(preset: str, option: str, value) -> None:
    """Checks that an option of `fit` applies to a preset.

    Args:
        preset: name of the preset.
        option: name of the option.
        value: its value, for the message.

    Raises:
        ValueError: if it does not.
    """
    if option not in tasks.of(preset).options:
        raise ValueError(
            f"{option} must be left out with preset {preset}. Received: {value}"
        )


def meaningless(preset: str) -> set[str]:
    """Returns the names of the run options that do not apply to a preset."""
    return {f.name for f in dataclasses.fields(FitConfig)} - tasks.of(preset).options


def without_meaningless(config: FitConfig, saved: dict) -> FitConfig:
    """Resets options from an old config.json that do not apply to its preset.

    Earlier versions stored a learning rate for ensembles.

    Args:
        config: options, partly from that file.
        saved: content of the file.
    """
    if saved.get("preset") != config.preset:
        return config
    absent = {
        field.name: field.default
        for field in dataclasses.fields(FitConfig)
        if field.name in meaningless(config.preset)
        and getattr(config, field.name) == saved.get(field.name)
    }
    return dataclasses.replace(config, **absent)
