"""Stops a run whose loss tells that there is no way back."""

import math
import pathlib

from tf_prompt.runs import checkpoints
from tf_prompt.training.callbacks import OnEachStep

# Steps whose mean loss is compared, and comparisons in a row that must fail.
WINDOW, PATIENCE = 50, 4
_FACTOR = 2.0


class DivergenceGuard(OnEachStep):
    """Stops a run whose loss is no number, or has risen and stays up.

    Up means: above twice its lowest mean over `WINDOW` steps, and above the middle
    between that and the first such mean; for `PATIENCE` windows in a row. A run
    that has learned little or nearly all would trip over either rule alone.

    Args:
        run_dir: named in the error.
        skipped: steps passed over at the start.

    Attributes:
        state: JSON content, what the guard has seen.

    Raises:
        ValueError: out of `model.fit`; names the step and what may help.
    """

    def __init__(self, run_dir: pathlib.Path, skipped: int = 0):
        super().__init__(skipped)
        self._run_dir = run_dir
        self.state = {"first": None, "best": None, "high": 0, "sum": 0.0, "count": 0}

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        # Keras' loss is the mean since the epoch began: this is mean times steps.
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
                f"loss must not stay above {limit:.3g} once it was {best:.3g}",
                f"{mean:.3g} over {WINDOW} steps",
                step,
            )

    def _fail(self, rule, received, step):
        kept = checkpoints.list_checkpoints(self._run_dir)
        where = f"{kept[-1]} is the last good checkpoint" if kept else "nothing is kept"
        raise ValueError(
            f"{rule}. Received: {received} in epoch {self._epoch + 1}, step {step}; "
            f"{where}. Begin a run in another --run-dir with a lower --learning-rate "
            f"(--find-learning-rate suggests one), --clip-norm or more --warmup-steps"
        )
