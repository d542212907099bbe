"""What training takes from Keras and TensorFlow without their promise."""

import importlib

import keras
import pytest

from tf_prompt.training import private_names
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
    with pytest.raises(ValueError, match=f"AdamW.{gone} is gone: .* Keras 3.15.x only"):
        optimizer.build([keras.Variable([1.0])])
