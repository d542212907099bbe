"""The sweep over learning rates."""

import numpy as np
import pytest

from tests.training.test_loop import config_for
from tf_prompt.training import learning_rate_finder, loop
from tf_prompt.training.strategy import build_strategy


def test_rates_rise_by_the_same_factor():
    rise = learning_rate_finder.ExponentialRise(1e-4, 1.0, 5)
    rates = [float(rise(step)) for step in range(5)]
    np.testing.assert_allclose(rates, [1e-4, 1e-3, 1e-2, 1e-1, 1.0], rtol=1e-5)


def test_smooth_losses_by_hand():
    # 0.95 of the mean before and 0.05 of the loss, over what the weights add up to:
    # (0.0475 * 1 + 0.05 * 3) / 0.0975.
    smooth = learning_rate_finder.smooth_losses([1.0, 3.0])
    np.testing.assert_allclose(smooth, [1.0, 0.1975 / 0.0975])


def test_a_tenth_of_the_rate_of_the_lowest_loss():
    rates = np.array([1e-3, 1e-2, 1e-1, 1.0])
    assert learning_rate_finder.suggest(rates, np.array([5, 4, 2, 9])) == 0.01
    with pytest.raises(ValueError, match="loss must decrease at some learning rate"):
        learning_rate_finder.suggest(rates, np.array([1, 2, 3, 4]))


@pytest.mark.slow
def test_sweep_leaves_a_picture_and_no_run(tiny_shards, tmp_path):
    config = config_for(tiny_shards, epochs=1)
    run_dir = tmp_path / "run"
    strategy = build_strategy(["CPU:0"])
    text = learning_rate_finder.find(config, run_dir, strategy, num_steps=100)
    assert [path.name for path in run_dir.iterdir()] == ["learning_rate.png"]
    suggested = float(text.split("--learning-rate ")[1].split(",")[0])
    # Between where nothing is learned and where everything blows up.
    assert 1e-4 < suggested < 1
    # A run can begin there.
    assert len(loop.train(config, run_dir, strategy)) == 1
