"""The learning rate against hand-worked numbers and against Keras' own."""

import keras
import numpy as np

from tf_prompt.training.schedules import WarmUpCosine


def test_rate_rises_then_falls():
    schedule = WarmUpCosine(2.0, warmup_steps=4, total_steps=12)
    rates = [float(schedule(step)) for step in (0, 1, 4, 8, 12, 99)]
    np.testing.assert_allclose(rates, [0, 0.5, 2, 1, 0, 0], atol=1e-6)


def test_rate_equals_that_of_keras():
    ours = WarmUpCosine(3e-3, warmup_steps=10, total_steps=50)
    theirs = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=40, warmup_target=3e-3, warmup_steps=10
    )
    for step in range(60):
        np.testing.assert_allclose(ours(step), theirs(step), atol=1e-8)


def test_no_warmup_starts_at_the_peak():
    assert float(WarmUpCosine(2.0, warmup_steps=0, total_steps=8)(0)) == 2


def test_config_rebuilds_the_schedule():
    schedule = WarmUpCosine(2.0, warmup_steps=4, total_steps=12)
    config = keras.optimizers.schedules.serialize(schedule)
    assert keras.optimizers.schedules.deserialize(config)(8) == schedule(8)
