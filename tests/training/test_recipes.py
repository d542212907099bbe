"""What a preset is trained with, and which options mean something to it."""

import dataclasses

import pytest

from tf_prompt import fit
from tf_prompt.models import presets
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import recipes, tasks

# Epochs, examples a batch, learning rate, flip.
CAPTIONER = (9, 64, 2e-3, True)
TRAINED = {
    "lstm_base": CAPTIONER,
    "lstm_tiny": CAPTIONER,
    "transformer_base": CAPTIONER,
    "transformer_tiny": CAPTIONER,
    "vit_regressor_base": (5, 64, 1e-4, False),
    "vit_regressor_tiny": (8, 64, 1e-3, False),
    "resnet_regressor_base": (5, 64, 1e-4, False),
    "resnet_regressor_tiny": (4, 64, 1e-3, False),
    "clip_interrogator_base": (0, 128, 1e-5, True),
    "clip_interrogator_tiny": (8, 128, 2e-3, True),
}
ENSEMBLES = ["ensemble_base", "ensemble_tiny"]


def test_every_preset_has_a_recipe():
    assert {*TRAINED, *ENSEMBLES} == set(presets.names())
    for name, expected in TRAINED.items():
        config = recipes.complete(FitConfig(preset=name))
        found = config.epochs, config.batch_size, config.learning_rate, config.flip
        assert found == expected, name
        assert config.loss == ("cosine_mse" if "regressor" in name else None)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_has_no_rate_and_no_epochs(name):
    config = recipes.complete(FitConfig(preset=name, members=("a", "b")))
    assert config == FitConfig(preset=name, members=("a", "b"), batch_size=64)


def test_what_is_given_is_kept():
    given = FitConfig(preset="lstm_tiny", epochs=2, flip=False, learning_rate=1.0)
    config = recipes.complete(given)
    assert (config.epochs, config.flip, config.learning_rate) == (2, False, 1.0)
    assert config.batch_size == 64


def test_options_of_other_models_are_refused():
    with pytest.raises(ValueError, match="loss must be left out with preset lstm_tiny"):
        recipes.complete(FitConfig(preset="lstm_tiny", loss="mse"))
    with pytest.raises(ValueError, match="max_words must be left out with preset vit"):
        recipes.complete(FitConfig(preset="vit_regressor_tiny", max_words=3))


@pytest.mark.parametrize(
    "option, value",
    [("epochs", 1), ("learning_rate", 1.0), ("flip", False), ("time_budget", 5.0)],
)
def test_options_of_epochs_mean_nothing_to_an_ensemble(option, value):
    config = FitConfig(preset="ensemble_tiny", members=("a",), **{option: value})
    with pytest.raises(ValueError, match=f"{option} must be left out with preset ens"):
        recipes.complete(config)


def test_only_a_pretrained_clip_goes_without_training():
    assert recipes.complete(FitConfig(preset="clip_interrogator_base")).epochs == 0
    with pytest.raises(ValueError, match="epochs must be positive with preset lstm"):
        recipes.complete(FitConfig(preset="lstm_tiny", epochs=0))


def test_every_option_means_something_to_a_model():
    options = frozenset().union(*(tasks.of(name).options for name in presets.names()))
    fields = {field.name for field in dataclasses.fields(fit.FitOptions)}
    # `config` stands for other flags.
    assert options == fields - {"config"}


def test_unknown_preset_has_no_task():
    with pytest.raises(ValueError, match="preset must be one of"):
        tasks.of("gpt")


def test_an_old_file_may_name_what_means_nothing():
    saved = {"preset": "ensemble_tiny", "epochs": 1, "learning_rate": 1.0, "seed": 3}
    read = FitConfig(preset="ensemble_tiny", epochs=1, learning_rate=1.0, seed=3)
    config = recipes.without_meaningless(read, saved)
    assert config == FitConfig(preset="ensemble_tiny", seed=3)
    # What was given beside it stays, and is refused.
    given = dataclasses.replace(read, epochs=2)
    assert recipes.without_meaningless(given, saved).epochs == 2
    other = {**saved, "preset": "lstm_tiny"}
    assert recipes.without_meaningless(read, other) == read
