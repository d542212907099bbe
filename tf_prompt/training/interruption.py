"""Saves and stops within an epoch, on signals or at the end of a time budget."""

import signal
import threading
import time

import keras

from tf_prompt.training.callbacks import OnEachStep, SaveRun, SwapAverages, read_metrics

_CAUGHT = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Training was stopped and saved; the same command resumes it.

    Args:
        message: what stopped it, and where.
        exit_code: exit code of the command: 128 plus the signal's number, as in a
            shell, or 0 for a time budget.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class CaughtSignals:
    """Context manager that records SIGTERM and SIGINT.

    A second signal of the same kind has its usual effect, because the first may have
    to wait for a long step. Outside the main thread nothing is caught.

    Args:
        active: False catches nothing.

    Attributes:
        number: number of the signal received; None before.
    """

    def __init__(self, active: bool = True):
        self._active = active
        self.number: int | None = None
        self._before: dict = {}

    def __enter__(self) -> "CaughtSignals":
        if self._active and threading.current_thread() is threading.main_thread():
            for number in _CAUGHT:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.number = number
        signal.signal(number, self._before[number])


class Interruption(OnEachStep):
    """Saves within an epoch: regularly, on a signal, and at the end of a time budget.

    Args:
        saver: writes the checkpoints.
        averages: swapped back before a save during validation; None if there are none.
        signals: the signals that ask to stop.
        save_every: float >= 0, minutes between checkpoints within an epoch; 0 writes
            none.
        deadline: value of `time.monotonic()` at which to stop; None never stops.
        skipped: int >= 0, number of steps to skip at the start.
    """

    def __init__(
        self,
        saver: SaveRun,
        averages: SwapAverages | None,
        signals: CaughtSignals,
        save_every: float = 0.0,
        deadline: float | None = None,
        skipped: int = 0,
    ):
        super().__init__(skipped)
        self._saver, self._averages, self._signals = saver, averages, signals
        self._interval = 60 * save_every
        self._deadline = deadline
        self._saved = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_step(self, step, logs):
        now = time.monotonic()
        stops = self._must_stop(now)
        if stops or (self._interval and now - self._saved >= self._interval):
            self._saver.save_step(step)
            self._saved = time.monotonic()
        if stops:
            self._stop(step)

    def on_test_begin(self, logs=None):
        # Read before validation resets them.
        self._metrics = read_metrics(self.model)

    def on_test_batch_end(self, batch, logs=None):
        if self._must_stop(time.monotonic()):
            if self._averages:
                self._averages.restore()
            step = self._saver.steps_per_epoch
            self._saver.save_step(step, self._metrics)
            self._stop(step)

    def on_epoch_end(self, epoch, logs=None):
        # The epoch has been saved by now.
        self._saved = time.monotonic()
        more = epoch + 1 < self.params["epochs"] and not self.model.stop_training
        if more and self._must_stop(self._saved):
            self._stop(self._saver.steps_per_epoch)

    def _must_stop(self, now) -> bool:
        late = self._deadline is not None and now >= self._deadline
        return late or self._signals.number is not None

    def _stop(self, step):
        number = self._signals.number
        reason = signal.Signals(number).name if number else "the time budget ended"
        raise Stopped(
            f"{reason}: saved in epoch {self._epoch + 1}, step {step} of "
            f"{self._saver.steps_per_epoch}, in {self._saver.run_dir}; the same "
            f"command resumes from there",
            128 + number if number else 0,
        )


def require_no_signal(signals: CaughtSignals, run_dir) -> None:
    """Checks that no signal came too late to stop training.

    Args:
        signals: the caught signals.
        run_dir: the run's folder, for the message.

    Raises:
        Stopped: if one did.
    """
    if signals.number is not None:
        name = signal.Signals(signals.number).name
        raise Stopped(
            f"{name}: {run_dir} is trained; the same command tests it",
            128 + signals.number,
        )


def skip_steps(model: keras.Model, num_steps: int) -> None:
    """Makes the next steps of `model.fit` neither read data nor train.

    Needed because `model.fit` can only start an epoch at its first step. Callbacks see
    the skipped steps with the metrics of the last trained one.

    Args:
        model: a compiled model.
        num_steps: int >= 0, number of steps to skip.
    """
    train = model.make_train_function() or model.train_function
    left, logs = num_steps, None

    def skip(iterator):
        nonlocal left, logs
        if not left:
            model.train_function = train
            return train(iterator)
        left -= 1
        if logs is None:
            logs = {k: float(v) for k, v in model.get_metrics_result().items()}
        return logs

    model.train_function = skip
