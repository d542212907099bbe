"""Trains a model: from a config to a run folder."""

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
    """Trains a model, or resumes the run in the folder.

    Args:
        config: the run's options; `recipes` fills in those that are None.
        run_dir: folder of the run; created if needed.
        strategy: `tf.distribute.Strategy`; None builds that of `config.strategy`.
        callbacks: the caller's callbacks, called after those of the run, on every
            worker. When a run resumes within an epoch they also see the skipped
            steps; their own state is not saved. Ensembles, which are fitted at once,
            call none.

    Returns:
        list of one dict per epoch: `epoch` from 1, losses, accuracies or cosines,
        `seconds`.

    Raises:
        ValueError: for options that do not fit each other or the folder, a folder in
            use or on a full disk, or a loss that diverges.
        FileNotFoundError: if the data are missing.
        ConnectionError: if another worker cannot be reached or is lost.
        interruption.Stopped: on a signal or at the end of `time_budget`, after saving.
    """
    deadline = config.time_budget and time.monotonic() + 60 * config.time_budget
    # First, because workers can only join before TensorFlow is initialised.
    strategy = strategy or _build_strategy(recipes.complete(config))
    folder = data_folder.find_data(config.data)
    config = recipes.complete(config, folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(strategies.reporting_lost_workers(strategy, run_dir))
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
        # No worker leaves while another still needs it.
        strategies.require_agreement(strategy, len(history))
        return history


def _build_strategy(config):
    strategy = strategies.build_strategy(None, config.strategy, config.worker_timeout)
    if config.time_budget and strategies.is_multi_worker(strategy):
        raise ValueError(
            "time_budget must be left out with several workers: their clocks differ. "
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
        unset=recipes.of(config.preset),
    )


@contextlib.contextmanager
def built(config: FitConfig, run_dir, folder, strategy=None):
    """Context manager that builds a run's task and compiled model.

    Args:
        config: the run's options, completed by `recipes`.
        run_dir: folder where the task keeps its vocabulary.
        folder: folder of shards.
        strategy: as in `train`, but None uses this machine's devices.

    Yields:
        Task and model.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    task = tasks.of(config.preset)(config, run_dir, folder)
    policy = keras.mixed_precision.dtype_policy()
    if config.mixed_precision:
        keras.mixed_precision.set_dtype_policy(task.half_precision)
    try:
        keras.utils.set_random_seed(config.seed)
        with (strategy or strategies.build_strategy(name="mirrored")).scope():
            model = task.build_model()
            task.compile_model(model)
        yield task, model
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
