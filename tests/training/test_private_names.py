"""What training takes from Keras and TensorFlow without their promise."""

import importlib

import keras
import numpy as np
import pytest

from tf_prompt.runs import folder as run_folder
from tf_prompt.training import callbacks, private_names
from tf_prompt.training.optimizers import BatchAdamW


@pytest.mark.parametrize("package", private_names.TRIED)
def test_names_are_tried_with_what_is_installed(package):
    """Fails with a new version: once tests/training passes, note it in `TRIED`."""
    version = importlib.import_module(package).__version__
    assert version.startswith(private_names.TRIED[package][1])


def test_a_name_that_is_gone_stops_training(monkeypatch):
    """Keras would call another method, and clip the gradients of each replica."""
    gone = "_no_such_method"
    monkeypatch.setattr("tf_prompt.training.optimizers._OVERRIDDEN", (gone,))
    optimizer = BatchAdamW(0.1)
    with pytest.raises(
        ValueError, match=f"AdamW.{gone} does not exist: .* Keras 3.15.x only"
    ):
        optimizer.build([keras.Variable([1.0])])


def test_averages_are_saved_with_mixed_precision_too(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    inner = BatchAdamW(0.1, use_ema=True)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    model.optimizer.build(model.trainable_variables)
    callbacks.averages_of(model)[0].assign([[3.0], [4.0]])
    saved = []
    monkeypatch.setattr(
        run_folder, "save_for_inference", lambda *arguments: saved.append(arguments[2])
    )
    saver = callbacks.SaveRun(tmp_path, {}, 1, 0, {})
    saver.set_model(model)
    saver.on_epoch_begin(0)
    logs = {"loss": 1.0, "val_loss": 1.0, "cosine": 0.5, "val_cosine": 0.5}
    saver.on_epoch_end(0, logs)
    np.testing.assert_array_equal(saved[0][0], [[3.0], [4.0]])
