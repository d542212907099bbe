"""Stops a run whose loss diverges."""

import math
import pathlib

from tf_prompt.runs import checkpoints
from tf_prompt.training.callbacks import OnEachStep

# Steps per window, whose mean losses are compared, and bad windows in a row to fail.
WINDOW, PATIENCE = 50, 4
_FACTOR = 2.0


class DivergenceGuard(OnEachStep):
    """Stops a run whose loss is not finite, or has risen and stays high.

    High means: for `PATIENCE` windows of `WINDOW` steps in a row, the mean loss is
    above twice the lowest mean so far, and above the midpoint between that and the
    first mean. Either rule alone would stop runs that have learned very little or
    almost everything.

    Args:
        run_dir: the run's folder, named in the error.
        skipped: number of steps skipped at the start.

    Attributes:
        state: JSON-compatible dict with what the guard has seen.

    Raises:
        ValueError: from `model.fit`; the message names the step and possible remedies.
    """

    def __init__(self, run_dir: pathlib.Path, skipped: int = 0):
        super().__init__(skipped)
        self._run_dir = run_dir
        self.state = {"first": None, "best": None, "high": 0, "sum": 0.0, "count": 0}

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        # Keras logs the mean since the start of the epoch: this is mean times steps.
        self._total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self._total = (batch + 1) * logs["loss"]

    def on_step(self, step, logs):
        if not math.isfinite(logs["loss"]):
            self._fail("loss must stay finite", logs["loss"], step)
        state = self.state
        state["sum"] += step * logs["loss"] - self._total
        state["count"] += 1
        if state["count"] == WINDOW:
            self._compare(state["sum"] / WINDOW, step)
            state["sum"], state["count"] = 0.0, 0

    def _compare(self, mean, step):
        state = self.state
        if state["first"] is None:
            state["first"] = state["best"] = mean
        first, best = state["first"], state["best"]
        limit = max(_FACTOR * best, (first + best) / 2)
        state["high"] = state["high"] + 1 if mean > limit else 0
        state["best"] = min(best, mean)
        if state["high"] >= PATIENCE:
            self._fail(
                f"loss must not stay above {limit:.3g} after it was {best:.3g}",
                f"{mean:.3g} over {WINDOW} steps",
                step,
            )

    def _fail(self, rule, received, step):
        kept = checkpoints.list_checkpoints(self._run_dir)
        where = (
            f"{kept[-1]} is the last good checkpoint" if kept else "nothing is saved"
        )
        raise ValueError(
            f"{rule}. Received: {received} in epoch {self._epoch + 1}, step {step}; "
            f"{where}. Start a run in another --run-dir with a lower --learning-rate "
            f"(--find-learning-rate suggests one), --clip-norm or more --warmup-steps"
        )
