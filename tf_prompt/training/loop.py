"""Training: data, model and `model.fit`, from a config to a run folder."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_prompt.data import folder as data_folder
from tf_prompt.data.folder import fingerprint
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import recipes, tasks
from tf_prompt.training import strategy as strategies


def train(
    config: FitConfig,
    run_dir: pathlib.Path,
    strategy=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> list[dict]:
    """Trains a model, or goes on with the run that is in the folder.

    Args:
        config: the run's options; `recipes` fills what is None.
        run_dir: folder of the run; created, and filled as in `run_folder`.
        strategy: `tf.distribute.Strategy`; None takes what `config.strategy`
            says.
        callbacks: the caller's own, called after those of the run, on every worker.
            A run that goes on within an epoch shows them the steps that it passes
            over, and knows nothing of what they have kept. An ensemble, which is
            fitted at once, calls none.

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
    strategy = strategy or _build_strategy(config)
    folder = data_folder.find_data(config.data)
    with contextlib.ExitStack() as stack:
        stack.enter_context(strategies.told_of_lost_workers(strategy, run_dir))
        own_dir = stack.enter_context(strategies.writing_folder(strategy, run_dir))
        stack.enter_context(run_folder.claim(own_dir))
        _open_run(own_dir, config, folder)
        task, model = stack.enter_context(built(config, own_dir, folder, strategy))
        with strategy.scope():
            state = task.load_state(model, run_dir)
        common = dataclasses.replace(config, run_dir=None, gpu_memory=None)
        facts = common, fingerprint(folder), state
        strategies.require_agreement(strategy, *facts)
        history = task.fit(model, state, deadline, callbacks)
        # None leaves while another still needs it.
        strategies.require_agreement(strategy, len(history))
        return history


def _build_strategy(config):
    strategy = strategies.build_strategy(None, config.strategy, config.worker_timeout)
    if config.time_budget and strategies.is_multi_worker(strategy):
        raise ValueError(
            "time_budget must be left out with several workers, whose clocks differ. "
            f"Received: {config.time_budget}"
        )
    return strategy


def _open_run(run_dir, config, folder):
    run_folder.open_run(
        run_dir,
        config,
        folder,
        has_result=tasks.of(config.preset).has_result(run_dir),
        ignored=recipes.meaningless(config.preset),
    )


@contextlib.contextmanager
def built(config: FitConfig, run_dir, folder, strategy=None):
    """Gives task and compiled model to what a `with` holds.

    Args:
        config: the run's options, completed.
        run_dir: folder where the task keeps its vocabulary.
        folder: shards.
        strategy: as in `train`, but None takes this machine's devices.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    task = tasks.of(config.preset)(config, run_dir, folder)
    policy = keras.mixed_precision.dtype_policy()
    if config.mixed_precision:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(config.seed)
        with (strategy or strategies.build_strategy(name="mirrored")).scope():
            model = task.build_model()
            task.compile_model(model)
        yield task, model
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
