"""The asymmetric loss by hand, and against cross-entropy."""

import keras
import numpy as np
import pytest

from tf_prompt.training.losses import AsymmetricLoss


def test_without_its_asymmetry_it_is_cross_entropy():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4, 5)).astype("float32")
    flags = generator.integers(0, 2, (4, 5)).astype("float32")
    found = AsymmetricLoss(0.0, 0.0, 0.0)(flags, logits)
    wanted = keras.losses.BinaryCrossentropy(from_logits=True)(flags, logits)
    assert float(found) == pytest.approx(5 * float(wanted), rel=1e-5)


def test_by_hand():
    logits = np.log([[0.8 / 0.2, 0.5, 0.04 / 0.96]]).astype("float32")
    logits[0, 1] = np.log(0.3 / 0.7)
    found = AsymmetricLoss(1.0, 2.0, 0.05)(np.array([[1.0, 0, 0]]), logits)
    # An absent label below the margin counts nothing.
    expected = -(0.2 * np.log(0.8) + 0.25**2 * np.log(0.75))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_sure_mistakes_stay_finite():
    assert np.isfinite(AsymmetricLoss()(np.array([[0.0, 1]]), np.array([[99.0, -99]])))
