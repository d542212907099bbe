"""The epochs of a run: `model.fit` with its data and callbacks."""

import contextlib
import sys
from collections.abc import Sequence

import keras

from tf_prompt.runs import folder as run_folder
from tf_prompt.training import building, interruption, multi_worker
from tf_prompt.training import strategy as strategies
from tf_prompt.training.callbacks import Progress, SaveRun, SwapAverages, should_stop
from tf_prompt.training.guards import DivergenceGuard
from tf_prompt.training.head_first import HeadFirst
from tf_prompt.training.input_stall import InputStall
from tf_prompt.training.scheduled_sampling import sampling_of


def fit_epochs(
    task,
    model: keras.Model,
    state: dict,
    deadline: float | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> list[dict]:
    """Trains a model for the remaining epochs of its run, saving after each.

    Args:
        task: `Task` with options, folders and batches.
        model: compiled, and restored if the run is resumed.
        state: state of the checkpoint to resume from; `{}` starts the run.
        deadline: value of `time.monotonic()` at which to stop; None never stops.
        callbacks: the caller's callbacks, called after those of the run.

    Returns:
        list of one dict per epoch, earlier ones included.

    Raises:
        ValueError, interruption.Stopped: see `loop.train`.
    """
    config, run_dir = task.config, task.run_dir
    history, step = state.get("history", []), state.get("step", 0)
    done = len(history)
    if not config.epochs:
        run_folder.save_for_inference(model, run_dir / run_folder.BEST_MODEL)
        return history
    if done >= config.epochs or should_stop(history, config.patience):
        print(f"{run_dir} is already trained: {done} epochs", file=sys.stderr)
        return history
    if done or step:
        within = f", step {step} of the next" if step else ""
        print(f"{run_dir}: resuming after epoch {done}{within}", file=sys.stderr)
    return _fit_from(task, model, state, deadline, callbacks)


def _fit_from(task, model, state, deadline, callbacks):
    config, strategy = task.config, model.distribute_strategy
    done, step = len(state.get("history", [])), state.get("step", 0)
    steps_per_epoch = task.steps_per_epoch
    share = strategies.make_share(strategy, config, task.folder, steps_per_epoch)
    batches = task.training_batches(
        model, range(done, config.epochs), skip=step, share=share
    )
    if strategies.is_multi_worker(strategy):
        multi_worker.repair(model, batches)
    else:
        building.build_once(model, batches)
    steps_per_epoch *= config.accumulate_steps
    progress = Progress()
    with (
        contextlib.closing(progress),
        interruption.CaughtSignals(not strategies.is_multi_worker(strategy)) as signals,
    ):
        saver, watchers = _watchers(
            task, model, steps_per_epoch, state, signals, deadline
        )
        if step:
            interruption.skip_steps(model, step)
        model.fit(
            strategies.distribute(strategy, batches),
            validation_data=strategies.distribute(
                strategy,
                task.validation_batches(model, share and share.for_validation()),
            ),
            epochs=config.epochs,
            initial_epoch=done,
            steps_per_epoch=steps_per_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[progress, *watchers, *callbacks],
        )
    interruption.require_no_signal(signals, task.run_dir)
    return saver.history


def _watchers(task, model, steps_per_epoch, state, signals, deadline):
    """Returns the callbacks of a run, in the order in which they must be called."""
    config, run_dir, skipped = task.config, task.run_dir, state.get("step", 0)
    done = len(state.get("history", []))
    head = HeadFirst(model, config.head_epochs, done) if config.head_epochs else None
    guard = DivergenceGuard(run_dir, skipped)
    # `deterministic` forbids the clock's operation.
    stall = None if config.deterministic else InputStall(skipped)
    if stall:
        stall.watch(model)
    saver = SaveRun(run_dir, state, steps_per_epoch, config.patience, {"guard": guard})
    averages = SwapAverages() if config.ema else None
    # Workers' clocks differ, and one that saves alone would wait for the others for
    # ever: several workers resume after the last complete epoch.
    alone = not strategies.is_multi_worker(model.distribute_strategy)
    stops = alone and interruption.Interruption(
        saver, averages, signals, config.save_every, deadline, skipped
    )
    # The guard before whatever saves; the stall between history and TensorBoard.
    order = [head, *sampling_of(config, model), guard, averages, saver, stall]
    board = keras.callbacks.TensorBoard(run_dir / "logs", write_graph=False)
    return saver, [callback for callback in (*order, board, stops) if callback]
