"""What happens during `model.fit`: a progress bar, and files after each epoch."""

import math
import pathlib
import time

import keras
import tqdm

from tf_prompt.training import curves, run_folder


class Progress(keras.callbacks.Callback):
    """Shows steps, rate and loss of each epoch on stderr.

    Keras' own bar writes to stdout, which is for results.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self._bar = tqdm.tqdm(
            total=self.params["steps"],
            desc=f"epoch {epoch + 1}/{self.params['epochs']}",
            unit="step",
            mininterval=0.5,
        )

    def on_train_batch_end(self, batch, logs=None):
        # Formatting forces a copy from the device: not at every step.
        if batch % 10 == 0:
            self._bar.set_postfix(_round(logs), refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self._bar.set_postfix(_round(logs))
        self._bar.close()


class SaveEpoch(keras.callbacks.Callback):
    """After each epoch writes history, curves, the best model and a checkpoint.

    The checkpoint comes last: a run killed in between redoes the epoch.

    Args:
        run_dir: the run's folder.
        history: rows of the epochs already done.
        steps_per_epoch: kept for the resumed run.
        patience: epochs without gain before training stops; 0 never stops.
    """

    def __init__(self, run_dir: pathlib.Path, history, steps_per_epoch, patience):
        super().__init__()
        self.run_dir = run_dir
        self.history = list(history)
        self.steps_per_epoch = steps_per_epoch
        self.patience = patience

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.monotonic()

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
        best = curves.best_epoch(self.history)
        if best == epoch:
            run_folder.save_for_inference(
                self.model, self.run_dir / run_folder.BEST_MODEL
            )
        curves.write_history(self.history, self.run_dir / run_folder.HISTORY)
        curves.plot_history(self.history, self.run_dir / run_folder.CURVES)
        state = {"history": self.history, "steps_per_epoch": self.steps_per_epoch}
        run_folder.save_checkpoint(self.model, self.run_dir, state)
        if should_stop(self.history, self.patience):
            self.model.stop_training = True


def should_stop(history, patience: int) -> bool:
    """Whether the last `patience` epochs brought no lower validation loss."""
    if not patience or not history:
        return False
    return len(history) - 1 - curves.best_epoch(history) >= patience


def _round(logs):
    return {name: f"{float(value):.3f}" for name, value in (logs or {}).items()}
