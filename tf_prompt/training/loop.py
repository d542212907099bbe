"""Training: data, model and `model.fit`, from a config to a run folder."""

import contextlib
import dataclasses
import pathlib
import sys
import time

import keras
import tensorflow as tf

from tf_prompt.data import folder as data_folder
from tf_prompt.data.folder import fingerprint
from tf_prompt.models import presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.runs import checkpoints
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import callbacks, interruption, multi_worker, recipes
from tf_prompt.training import strategy as strategies
from tf_prompt.training.guards import DivergenceGuard
from tf_prompt.training.input_stall import InputStall
from tf_prompt.training.tasks.captioning import CaptioningTask
from tf_prompt.training.tasks.contrastive import InterrogationTask
from tf_prompt.training.tasks.regression import RegressionTask

# What a kind of model is trained on, and how.
TASKS = {
    Captioner: CaptioningTask,
    EmbeddingRegressor: RegressionTask,
    CLIPInterrogator: InterrogationTask,
}


def train(config: FitConfig, run_dir: pathlib.Path, strategy=None) -> list[dict]:
    """Trains a model, or goes on with the run that is in the folder.

    Args:
        config: the run's options; `recipes` fills what is None.
        run_dir: folder of the run; created, and filled as in `run_folder`.
        strategy: `tf.distribute.Strategy`; None takes what `config.strategy`
            says.

    Returns:
        A row an epoch: `epoch` from 1, losses, accuracies or cosines, `seconds`.

    Raises:
        ValueError: for options that do not fit together or the folder, a folder in
            use or without room, a loss that diverges.
        FileNotFoundError: if the data is missing.
        ConnectionError: if another worker does not come, or is lost.
        interruption.Stopped: on a signal or at the end of `time_budget`, once all
            is saved.
    """
    deadline = config.time_budget and time.monotonic() + 60 * config.time_budget
    config = recipes.complete(config)
    # Before all else: workers can only be joined before TensorFlow has begun.
    strategy = strategy or strategies.build_strategy(
        None, config.strategy, config.worker_timeout
    )
    if config.time_budget and strategies.is_multi_worker(strategy):
        raise ValueError(
            "time_budget must be left out with several workers, whose clocks differ. "
            f"Received: {config.time_budget}"
        )
    folder = data_folder.find_data(config.data)
    with contextlib.ExitStack() as stack:
        stack.enter_context(strategies.told_of_lost_workers(strategy, run_dir))
        own_dir = stack.enter_context(strategies.writing_folder(strategy, run_dir))
        stack.enter_context(run_folder.claim(own_dir))
        run_folder.open_run(own_dir, config, folder)
        task, model, steps_per_epoch = stack.enter_context(
            built(config, own_dir, folder, strategy)
        )
        with strategy.scope():
            state = checkpoints.load_checkpoint(model, run_dir) or {}
        facts = dataclasses.replace(config, run_dir=None), fingerprint(folder), state
        strategies.require_agreement(strategy, *facts)
        history = _fit(task, model, own_dir, steps_per_epoch, state, deadline)
        # None leaves while another still needs it.
        strategies.require_agreement(strategy, len(history))
        return history


@contextlib.contextmanager
def built(config: FitConfig, run_dir, folder, strategy=None):
    """Gives task, compiled model and steps of an epoch to what a `with` holds.

    Args:
        config: the run's options, completed.
        run_dir: folder where the task keeps its vocabulary.
        folder: shards.
        strategy: as in `train`, but None takes this machine's devices.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    task = _task_class(config.preset)(config, run_dir, folder)
    steps_per_epoch = _count_steps(task.num_examples, config.batch_size)
    policy = keras.mixed_precision.dtype_policy()
    if config.mixed_precision:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(config.seed)
        with (strategy or strategies.build_strategy(name="mirrored")).scope():
            model = task.build_model()
            task.compile_model(model, steps_per_epoch)
        yield task, model, steps_per_epoch
    finally:
        keras.mixed_precision.set_dtype_policy(policy)


def _task_class(preset):
    model_class = presets.PRESETS[preset][0]
    return next(task for kind, task in TASKS.items() if issubclass(model_class, kind))


def _count_steps(num_examples, batch_size):
    if num_examples < batch_size:
        raise ValueError(
            f"batch_size must be at most the number of training examples, "
            f"{num_examples}. Received: {batch_size}"
        )
    return num_examples // batch_size


def _fit(task, model, run_dir, steps_per_epoch, state, deadline):
    config = task.config
    history, step = state.get("history", []), state.get("step", 0)
    done = len(history)
    if not config.epochs:
        run_folder.save_for_inference(model, run_dir / run_folder.BEST_MODEL)
        return history
    if done >= config.epochs or callbacks.should_stop(history, config.patience):
        print(f"{run_dir} is trained: {done} epochs", file=sys.stderr)
        return history
    if done or step:
        within = f", step {step} of the next" if step else ""
        print(f"{run_dir}: going on after epoch {done}{within}", file=sys.stderr)
    strategy = model.distribute_strategy
    share = strategies.make_share(strategy, config, task.folder, steps_per_epoch)
    batches = task.training_batches(
        model, range(done, config.epochs), skip=step, share=share
    )
    if strategies.is_multi_worker(strategy):
        multi_worker.repair(model, batches)
    steps_per_epoch *= config.accumulate_steps
    progress = callbacks.Progress()
    with (
        contextlib.closing(progress),
        interruption.CaughtSignals(not strategies.is_multi_worker(strategy)) as signals,
    ):
        saver, watchers = _watchers(
            task, model, run_dir, steps_per_epoch, state, signals, deadline
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
            callbacks=[progress, *watchers],
        )
    interruption.require_no_signal(signals, run_dir)
    return saver.history


def _watchers(task, model, run_dir, steps_per_epoch, state, signals, deadline):
    """Makes the callbacks of a run, in the order that they must be called in."""
    config, skipped = task.config, state.get("step", 0)
    guard = DivergenceGuard(run_dir, skipped)
    # The clock is an operation that `deterministic` forbids.
    stall = None if config.deterministic else InputStall(skipped)
    if stall:
        stall.watch(model)
    saver = callbacks.SaveRun(
        run_dir, state, steps_per_epoch, config.patience, {"guard": guard}
    )
    averages = callbacks.SwapAverages() if config.ema else None
    # Workers' clocks differ, and one that saves alone waits for the others forever:
    # several go on after the last whole epoch.
    alone = not strategies.is_multi_worker(model.distribute_strategy)
    stops = alone and interruption.Interruption(
        saver, averages, signals, config.save_every, deadline, skipped
    )
    # The guard comes before what saves; the stall between history and TensorBoard.
    order = [guard, averages, saver, stall]
    board = keras.callbacks.TensorBoard(run_dir / "logs", write_graph=False)
    return saver, [callback for callback in (*order, board, stops) if callback]
