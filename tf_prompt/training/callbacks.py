"""Callbacks of training: progress, averages of weights, saving after each epoch."""

import contextlib
import math
import pathlib
import time

import keras
import tqdm

from tf_prompt.runs import checkpoints
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs import history as run_history
from tf_prompt.runs.checkpoints import metric_variables
from tf_prompt.training import private_names

CURVE_SECONDS = 30


class Progress(keras.callbacks.Callback):
    """Progress bar on stderr with steps, speed and loss of each epoch.

    Keras' own bar writes to stdout, which is reserved for results.
    """

    def __init__(self):
        super().__init__()
        self._bar = None

    def on_epoch_begin(self, epoch, logs=None):
        self._bar = tqdm.tqdm(
            total=self.params["steps"],
            desc=f"epoch {epoch + 1}/{self.params['epochs']}",
            unit="step",
            mininterval=0.5,
        )

    def on_train_batch_end(self, batch, logs=None):
        # Not at every step, because formatting forces a copy from the device.
        if batch % 10 == 0:
            self._bar.set_postfix(_round(logs), refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self._bar.set_postfix(_round(logs))
        self._bar.close()

    def close(self) -> None:
        """Ends the bar's line, so that an error starts on a new one."""
        if self._bar:
            self._bar.close()


class OnEachStep(keras.callbacks.Callback):
    """Base class of callbacks that act on each step that actually trains.

    A run that resumes within an epoch skips the steps already done; `on_step` is not
    called for these.

    Args:
        skipped: int >= 0, number of steps to skip.
    """

    def __init__(self, skipped: int = 0):
        super().__init__()
        self._skipped = skipped

    def on_train_batch_end(self, batch, logs=None):
        if self._skipped:
            self._skipped -= 1
        else:
            self.on_step(batch + 1, logs)

    def on_step(self, step: int, logs: dict) -> None:
        """Called after a step.

        Args:
            step: number of the step in its epoch, from 1.
            logs: dict of the means of loss and metrics since the start of the epoch.
        """
        raise NotImplementedError


class SwapAverages(keras.callbacks.Callback):
    """Validates with the moving averages of the weights that the optimizer keeps.

    `keras.callbacks.SwapEMAWeights` swaps them by addition and subtraction, which
    rounds: a run stopped during validation would not resume bit for bit.
    """

    def __init__(self):
        super().__init__()
        self._swapped = False

    def on_test_begin(self, logs=None):
        self._swap()
        self._swapped = True

    def on_test_end(self, logs=None):
        self.restore()

    def restore(self) -> None:
        """Puts the weights back into the model, if the averages are there."""
        if self._swapped:
            self._swap()
            self._swapped = False

    def _swap(self):
        for variable, average in zip(
            self.model.trainable_variables, averages_of(self.model), strict=True
        ):
            weight = keras.ops.convert_to_numpy(variable)
            variable.assign(average)
            average.assign(weight)


class SaveRun(keras.callbacks.Callback):
    """Writes history, the best model and a checkpoint after each epoch.

    Curves are drawn after the last epoch, and before that at most every
    `CURVE_SECONDS`, because short epochs would wait for them. The checkpoint is
    written last: a run killed before that repeats the epoch.

    Args:
        run_dir: the run's folder.
        state: state of the checkpoint to resume from; `{}` starts the run.
        steps_per_epoch: int > 0, stored for the resumed run.
        patience: int >= 0, epochs without improvement before training stops; 0 never
            stops.
        parts: dict from name to a callback whose `state` is saved in checkpoints and
            restored from them.
    """

    def __init__(
        self, run_dir: pathlib.Path, state: dict, steps_per_epoch, patience, parts
    ):
        super().__init__()
        self.run_dir = run_dir
        self.history = list(state.get("history", []))
        self.steps_per_epoch = steps_per_epoch
        self.patience = patience
        self._drawn, self._rows_drawn = time.monotonic(), 0
        self._bare = None
        self._parts = parts
        self._middle = state if state.get("step") else None
        for name, part in parts.items():
            part.state = state.get(name, part.state)

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.monotonic()
        if self._middle:
            self._start -= self._middle["seconds"]
            # Keras has reset them for the epoch.
            for variable, value in zip(
                metric_variables(self.model), self._middle["metrics"], strict=True
            ):
                variable.assign(value)
            self._middle = None

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{k: float(v) for k, v in logs.items()}}
        row["seconds"] = round(time.monotonic() - self._start, 2)
        if not math.isfinite(row["loss"]) or not math.isfinite(row["val_loss"]):
            raise ValueError(
                f"loss must stay finite. Received: {row['loss']}, validation "
                f"{row['val_loss']}, in epoch {epoch + 1}; a lower --learning-rate "
                f"may help. The last good checkpoint is in {self.run_dir}"
            )
        self.history.append(row)
        with self._writing():
            if run_history.best_epoch(self.history) == epoch:
                self._save_best()
            run_history.write_history(self.history, self.run_dir / run_folder.HISTORY)
            if time.monotonic() - self._drawn >= CURVE_SECONDS:
                self._draw()
            checkpoints.save_checkpoint(self.model, self.run_dir, self._state())
        if should_stop(self.history, self.patience):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self._rows_drawn < len(self.history):
            with self._writing():
                self._draw()

    def save_step(self, step: int, metrics: list | None = None) -> None:
        """Writes a checkpoint within an epoch.

        Args:
            step: number of steps done in the epoch.
            metrics: values of `metric_variables` after them; None reads them.
        """
        state = {
            **self._state(),
            "step": step,
            "metrics": metrics or read_metrics(self.model),
            "seconds": time.monotonic() - self._start,
        }
        with self._writing():
            checkpoints.save_checkpoint(self.model, self.run_dir, state)

    def _save_best(self):
        self._bare = self._bare or run_folder.copy_for_inference(self.model)
        averages = averages_of(self.model) if self._has_averages() else None
        best = self.run_dir / run_folder.BEST_MODEL
        run_folder.save_for_inference(self.model, best, averages, self._bare)

    def _draw(self):
        run_history.plot_history(self.history, self.run_dir / run_folder.CURVES)
        self._drawn, self._rows_drawn = time.monotonic(), len(self.history)

    def _state(self):
        return {
            "history": self.history,
            "steps_per_epoch": self.steps_per_epoch,
            **{name: part.state for name, part in self._parts.items()},
        }

    def _has_averages(self):
        return _inner_optimizer(self.model).use_ema

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        # HDF5 raises RuntimeError if it cannot close a file on a full disk.
        except (OSError, RuntimeError) as error:
            kept = checkpoints.list_checkpoints(self.run_dir)
            raise ValueError(
                f"run_dir must have room and be writable. Received: {self.run_dir} "
                f"({_first_line(error)}); its last checkpoint, "
                f"{kept[-1].name if kept else 'none so far'}, is intact: the same "
                f"command resumes from there"
            ) from error


def averages_of(model: keras.Model) -> list:
    """Returns the moving averages of the trainable variables, in their order."""
    optimizer = _inner_optimizer(model)
    private_names.require("keras", optimizer, "_model_variables_moving_average")
    return optimizer._model_variables_moving_average


def _inner_optimizer(model):
    # Mixed precision wraps the optimizer in another one, which has no averages.
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def read_metrics(model: keras.Model) -> list:
    """Returns the values of `metric_variables` as a JSON-compatible list."""
    return [
        keras.ops.convert_to_numpy(variable).tolist()
        for variable in metric_variables(model)
    ]


def should_stop(history, patience: int) -> bool:
    """Whether validation loss has not improved in the last `patience` epochs.

    Args:
        history: list of one dict per epoch, with `val_loss`.
        patience: int >= 0; 0 never stops.
    """
    if not patience or not history:
        return False
    return len(history) - 1 - run_history.best_epoch(history) >= patience


def _first_line(error) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip().split("\n")[0]


def _round(logs):
    return {name: f"{float(value):.3f}" for name, value in (logs or {}).items()}
