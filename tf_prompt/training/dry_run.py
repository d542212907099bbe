"""Dry run: trains a few steps and estimates what the whole run will need."""

import dataclasses
import pathlib
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.data import folder as data_folder
from tf_prompt.inference.needs import format_megabytes, format_rows
from tf_prompt.runs import checkpoints
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import building, callbacks, loop, recipes
from tf_prompt.training.scheduled_sampling import sampling_of

# Steps that are timed, after the first ones, during which functions are traced and
# the pipeline fills its buffers.
_WARM_UP, _TIMED = 3, 10
_NUM_VALIDATED = 4
# Curves, history, vocabulary, and TensorBoard's files.
_SMALL_FILES = 10 * 2**20


@dataclasses.dataclass(frozen=True)
class Needs:
    """Resources that a run needs.

    Args:
        parameters: number of the model's parameters.
        model_bytes: size of weights, optimizer and other state.
        peak_bytes: peak memory of the whole process.
        gpu_bytes: peak memory of a GPU; None without one.
        step_seconds: median time of a step.
        epoch_seconds: time of an epoch, with validation.
        epochs: number of epochs.
        steps_per_epoch: number of training steps per epoch.
        disk_bytes: size of the run's folder when it is largest.
        free_bytes: free space on that disk.
    """

    parameters: int
    model_bytes: int
    peak_bytes: int
    gpu_bytes: int | None
    step_seconds: float
    epoch_seconds: float
    epochs: int
    steps_per_epoch: int
    disk_bytes: int
    free_bytes: int


def rehearse(config: FitConfig, run_dir: pathlib.Path, strategy=None) -> str:
    """Trains for a few steps and estimates what the run will need.

    Nothing is written into the run's folder. Missing embeddings of the prompts, which
    regressors learn, are computed and stored beside the shards.

    Args:
        config: the run's options.
        run_dir: folder of the future run.
        strategy: as in `loop.train`.

    Returns:
        A table, as text.

    Raises:
        ValueError: for options that do not fit.
        FileNotFoundError: if the data are missing.
    """
    recipes.require_meaning(config.preset, "dry_run", True)
    folder = data_folder.find_data(config.data)
    config = recipes.complete(config, folder)
    if config.cache_features:
        print("dry_run: measured without cache_features", file=sys.stderr)
        config = dataclasses.replace(config, cache_features=False, views=None)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = pathlib.Path(temporary)
        with loop.built(config, scratch, folder, strategy) as (task, model):
            needs = _measure(task, model, scratch, run_dir)
            return format_needs(needs, run_dir, task.describe_needs(model))


def format_needs(
    needs: Needs, run_dir: pathlib.Path, further: Sequence[tuple[str, str]] = ()
) -> str:
    """Formats the needs of a run, one per line.

    Args:
        needs: the needs.
        run_dir: folder of the future run.
        further: more lines, pairs of name and value.
    """
    seconds = needs.epochs * needs.epoch_seconds
    rows = [
        ("parameters", f"{needs.parameters:,}"),
        *further,
        ("model and optimizer", format_megabytes(needs.model_bytes)),
        ("peak memory", format_megabytes(needs.peak_bytes)),
        *(
            [("GPU peak memory", format_megabytes(needs.gpu_bytes))]
            if needs.gpu_bytes
            else []
        ),
        ("step", f"{1000 * needs.step_seconds:.0f} ms"),
        ("epoch", f"{needs.epoch_seconds:.0f} s, {needs.steps_per_epoch} steps"),
        ("run", f"{seconds / 60:.0f} min, {needs.epochs} epochs"),
        ("disk", f"{format_megabytes(needs.disk_bytes)} in {run_dir}"),
        ("disk, free", format_megabytes(needs.free_bytes)),
    ]
    table = format_rows(rows)
    if needs.disk_bytes > needs.free_bytes:
        table += "\nthe disk is too small for this run"
    return table


class _StepTimes(callbacks.OnEachStep):
    """Records the seconds of each step, without the first ones."""

    def __init__(self):
        super().__init__(_WARM_UP)
        self.seconds: list[float] = []
        self._last = 0.0

    def on_train_batch_end(self, batch, logs=None):
        now, last = time.monotonic(), self._last
        self._last = now
        self._passed = now - last
        super().on_train_batch_end(batch, logs)

    def on_step(self, step, logs):
        # From the end of one step to the next, including data and callbacks.
        self.seconds.append(self._passed)


def _measure(task, model, scratch, run_dir) -> Needs:
    times, steps_per_epoch = _StepTimes(), task.steps_per_epoch
    num_steps = min(_WARM_UP + _TIMED, steps_per_epoch)
    if num_steps <= _WARM_UP:
        raise ValueError(
            f"batch_size must give more than {_WARM_UP} steps per epoch in a dry run. "
            f"Received: {task.config.batch_size}, which gives {steps_per_epoch}"
        )
    batches = task.training_batches(model, range(1)).take(num_steps)
    building.build_once(model, batches)
    model.fit(
        batches,
        epochs=1,
        steps_per_epoch=num_steps,
        shuffle=False,
        verbose=0,
        callbacks=[*sampling_of(task.config, model), times],
    )
    step_seconds = statistics.median(times.seconds)
    validation = task.validation_batches(model)
    checkpoints.save_checkpoint(model, scratch, {"history": []})
    run_folder.save_for_inference(model, scratch / run_folder.BEST_MODEL)
    best = (scratch / run_folder.BEST_MODEL).stat().st_size
    checkpoint = _folder_size(scratch / checkpoints.CHECKPOINTS)
    variables = [*model.variables, *model.optimizer.variables]
    return Needs(
        parameters=model.count_params(),
        model_bytes=sum(_bytes_of(variable) for variable in variables),
        # In kilobytes on Linux. Includes a checkpoint in memory, written just now.
        peak_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        gpu_bytes=_gpu_peak(),
        step_seconds=step_seconds,
        epoch_seconds=step_seconds * steps_per_epoch
        + _time_validation(model, validation),
        epochs=task.config.epochs,
        steps_per_epoch=steps_per_epoch,
        # While a checkpoint is written, the older ones and the best model exist too.
        disk_bytes=(checkpoints.KEPT + 1) * checkpoint + 2 * best + _SMALL_FILES,
        free_bytes=shutil.disk_usage(_existing(run_dir)).free,
    )


def _time_validation(model, batches) -> float:
    """Estimates the seconds for all batches from a few."""
    total = int(batches.cardinality())
    few = min(_NUM_VALIDATED, total)
    # Whole datasets, as in `_measure`: not `steps` of a longer one.
    model.evaluate(batches.take(1), verbose=0)
    began = time.monotonic()
    model.evaluate(batches.take(few), verbose=0)
    return (time.monotonic() - began) / few * total


def _gpu_peak() -> int | None:
    peaks = [
        tf.config.experimental.get_memory_info(device.name)["peak"]
        for device in tf.config.list_logical_devices("GPU")
    ]
    return max(peaks, default=None)


def _bytes_of(variable) -> int:
    return int(np.prod(variable.shape)) * np.dtype(variable.dtype).itemsize


def _folder_size(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _existing(path: pathlib.Path) -> pathlib.Path:
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)
