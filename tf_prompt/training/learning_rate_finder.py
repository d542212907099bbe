"""Finds a learning rate with a sweep from far too low to far too high."""

import math
import pathlib
import tempfile

import keras
import matplotlib.figure
import numpy as np
from keras import ops

from tf_prompt.data import folder as data_folder
from tf_prompt.files import replacing
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import building, callbacks, loop, recipes

LOWEST, HIGHEST, NUM_STEPS = 1e-6, 10.0, 300
# Momentum of the running mean of losses, because single batches are noisy.
_MOMENTUM = 0.95
# The sweep ends when the loss exceeds its minimum by this factor.
_BLOWN_UP = 4.0
# Number of rates shown in the table.
_NUM_ROWS = 12


@keras.saving.register_keras_serializable(package="tf_prompt")
class ExponentialRise(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that grows by a constant factor at each step.

    Args:
        lowest: float > 0, the rate of the first step.
        highest: float > 0, the rate of the last step.
        num_steps: int > 1, number of steps.
    """

    def __init__(self, lowest, highest, num_steps):
        super().__init__()
        self.lowest, self.highest, self.num_steps = lowest, highest, num_steps

    def __call__(self, step):
        growth = math.log(self.highest / self.lowest) / (self.num_steps - 1)
        return self.lowest * ops.exp(growth * ops.cast(step, "float32"))

    def get_config(self):
        return {
            "lowest": self.lowest,
            "highest": self.highest,
            "num_steps": self.num_steps,
        }


def find(
    config: FitConfig,
    run_dir: pathlib.Path,
    strategy=None,
    num_steps: int = NUM_STEPS,
) -> str:
    """Trains at rising learning rates and suggests one; the weights are discarded.

    `learning_rate.png` in the folder shows the sweep. An existing run in the folder
    stays as it is.

    Args:
        config: the run's options.
        run_dir: folder of the future run; created.
        strategy: as in `loop.train`.
        num_steps: int > 1, number of steps.

    Returns:
        A table of rates and losses, and the suggestion, as text.

    Raises:
        ValueError: for options that do not fit, or a loss that never decreases.

    Reference: Smith, 2015, https://arxiv.org/abs/1506.01186, section 3.3.
    """
    recipes.require_meaning(config.preset, "find_learning_rate", True)
    folder = data_folder.find_data(config.data)
    config = recipes.complete(config, folder)
    with run_folder.claim(run_dir), tempfile.TemporaryDirectory() as temporary:
        scratch = pathlib.Path(temporary)
        with loop.built(config, scratch, folder, strategy) as (task, model):
            losses = _sweep(task, model, num_steps)
        growth = (HIGHEST / LOWEST) ** (1 / (num_steps - 1))
        rates = LOWEST * growth ** np.arange(len(losses))
        smooth = smooth_losses(losses)
        chosen = suggest(rates, smooth)
        _plot(rates, losses, smooth, chosen, run_dir / run_folder.LEARNING_RATE)
    return _format(rates, smooth, chosen, run_dir)


def smooth_losses(losses) -> np.ndarray:
    """Returns the bias-corrected running mean of losses, float64 `(steps,)`."""
    mean, smooth = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = _MOMENTUM * mean + (1 - _MOMENTUM) * loss
        smooth.append(mean / (1 - _MOMENTUM**number))
    return np.array(smooth)


def suggest(rates, smooth) -> float:
    """Returns a tenth of the rate at which the loss is lowest.

    At that rate the loss of some batches already rises; at a tenth of it the loss
    still decreases fast, and stays stable over a whole run.

    Args:
        rates: float `(steps,)`, increasing.
        smooth: float `(steps,)`, from `smooth_losses`.

    Raises:
        ValueError: if the loss never decreases.
    """
    lowest = int(np.argmin(smooth))
    if lowest == 0:
        raise ValueError(
            f"loss must decrease at some learning rate. Received: {smooth[0]:.4g} at "
            f"{rates[0]:.1e}, then higher"
        )
    return float(rates[lowest]) / 10


class _Sweep(callbacks.OnEachStep):
    """Records the loss of each step; stops training when it has blown up."""

    def __init__(self):
        super().__init__()
        self.losses: list[float] = []
        self._total = 0.0

    def on_step(self, step, logs):
        # Keras logs the mean since the start of the epoch.
        loss = step * logs["loss"] - self._total
        self._total = step * logs["loss"]
        if math.isfinite(loss):
            self.losses.append(loss)
            smooth = smooth_losses(self.losses)
        if not math.isfinite(loss) or smooth[-1] > _BLOWN_UP * abs(smooth.min()):
            self.model.stop_training = True


def _sweep(task, model, num_steps) -> list[float]:
    model.optimizer.learning_rate = ExponentialRise(LOWEST, HIGHEST, num_steps)
    sweep = _Sweep()
    epochs = range(-(-num_steps // task.steps_per_epoch))
    batches = task.training_batches(model, epochs).take(num_steps)
    building.build_once(model, batches)
    model.fit(
        batches,
        epochs=1,
        steps_per_epoch=num_steps,
        shuffle=False,
        verbose=0,
        callbacks=[callbacks.Progress(), sweep],
    )
    return sweep.losses


def _format(rates, smooth, chosen, run_dir) -> str:
    lines = [f"{'learning rate':>14}{'loss':>12}"]
    for index in np.unique(np.linspace(0, len(rates) - 1, _NUM_ROWS).astype(int)):
        lines.append(f"{rates[index]:14.1e}{smooth[index]:12.4f}")
    lines.append(f"\nsuggested: --learning-rate {chosen:.1e}, a tenth of the rate of")
    lines.append("the lowest loss, as the peak after warm-up")
    lines.append(f"plot of the sweep: {run_dir / run_folder.LEARNING_RATE}")
    return "\n".join(lines)


def _plot(rates, losses, smooth, chosen, path) -> None:
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(rates, losses, color="lightgrey", label="single batch")
    axis.plot(rates, smooth, label="running mean")
    axis.axvline(chosen, color="grey", linestyle=":", label=f"suggested, {chosen:.1e}")
    axis.set_xscale("log")
    # The explosion at the end would flatten everything before it.
    low, high = float(np.min(smooth)), float(np.max(losses[: len(losses) // 2]))
    axis.set_ylim(low - 0.1 * (high - low), high + 0.3 * (high - low))
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss")
    axis.grid(alpha=0.3)
    axis.legend()
    with replacing(path, keep_ending=True) as temporary:
        figure.savefig(temporary, dpi=120)
