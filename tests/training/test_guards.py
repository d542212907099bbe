"""Losses that stop a run, and many that must not."""

import json
import math

import numpy as np
import pytest

from tf_prompt.training.guards import PATIENCE, WINDOW, DivergenceGuard


def feed(guard, losses, epoch=0, start=0):
    """Shows the guard the losses of steps, as Keras does: means since the epoch."""
    guard.on_epoch_begin(epoch)
    for step in range(len(losses)):
        guard.on_train_batch_end(step, {"loss": float(np.mean(losses[: step + 1]))})


def learning(num_steps=400, first=6.0, last=1.0):
    return list(np.linspace(first, last, num_steps))


def test_nan_stops_at_its_step(tmp_path):
    guard = DivergenceGuard(tmp_path)
    with pytest.raises(
        ValueError, match=r"loss must stay finite. Received: nan in epoch 3, step 8"
    ):
        feed(guard, [3.0] * 7 + [math.nan, 3.0], epoch=2)


def test_error_names_the_last_good_checkpoint(tmp_path):
    (tmp_path / "checkpoints" / "epoch-00002").mkdir(parents=True)
    with pytest.raises(ValueError, match="epoch-00002 is the last good checkpoint"):
        feed(DivergenceGuard(tmp_path), [math.inf])


def test_loss_that_rises_and_stays_stops_within_a_few_hundred_steps(tmp_path):
    guard = DivergenceGuard(tmp_path)
    # Best mean: of the last 50 of 400 steps from 6 to 1. Limit: above the middle.
    with pytest.raises(ValueError, match="loss must not stay above .* after it") as e:
        feed(guard, learning() + [5.0] * 400)
    step = int(str(e.value).split("step ")[1].split(";")[0])
    assert step == 400 + PATIENCE * WINDOW
    assert "lower --learning-rate" in str(e.value)


@pytest.mark.parametrize(
    "losses",
    [
        learning() + [5.0] * (PATIENCE - 1) * WINDOW + [1.0] * 100,
        # It knows all by heart, and stumbles: far above twice its lowest loss.
        learning(400, 6.0, 0.001) + [0.5] * 600,
        # It has learned nothing so far: above the middle, not twice the lowest.
        [3.0] * 100 + [2.9] * 100 + [3.1] * 600,
        list(np.random.default_rng(0).gamma(2.0, 1.0, 2000)),
        [0.0] * 500,
        # A loss that is below zero.
        list(-np.linspace(0, 5, 400)) + [-3.0] * 400,
    ],
    ids=["comes back", "by heart", "plateau", "noise", "zero", "negative"],
)
def test_no_false_alarm(tmp_path, losses):
    feed(DivergenceGuard(tmp_path), losses)


def test_windows_cross_short_epochs(tmp_path):
    guard = DivergenceGuard(tmp_path)
    with pytest.raises(ValueError, match="in epoch 6[01], step"):
        for epoch in range(100):
            feed(guard, [6.0 if epoch < 5 else 1.0 if epoch < 40 else 6.0] * 10, epoch)


def test_guard_goes_on_where_it_was(tmp_path):
    """Its state goes through a checkpoint, in the middle of epoch and window."""
    losses = learning(475) + [5.0] * 400
    whole, errors = DivergenceGuard(tmp_path), []
    with pytest.raises(ValueError) as error:
        feed(whole, losses)
    errors.append(str(error.value))
    first = DivergenceGuard(tmp_path)
    feed(first, losses[:610])
    second = DivergenceGuard(tmp_path, skipped=610)
    second.state = json.loads(json.dumps(first.state))
    with pytest.raises(ValueError) as error:
        second.on_epoch_begin(0)
        for step in range(len(losses)):
            # A skipped step shows the metrics of the last one that was trained.
            mean = float(np.mean(losses[: max(step + 1, 610)]))
            second.on_train_batch_end(step, {"loss": mean})
    errors.append(str(error.value))
    assert errors[0] == errors[1]
