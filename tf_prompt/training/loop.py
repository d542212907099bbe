"""Training: data, model and `model.fit`, from a config to a run folder."""

import pathlib
import sys

import keras

from tf_prompt.config import FitConfig, settings
from tf_prompt.data import dataset
from tf_prompt.models import presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.training import callbacks, recipes, run_folder
from tf_prompt.training.captioning import CaptioningTask
from tf_prompt.training.interrogating import InterrogationTask
from tf_prompt.training.regression import RegressionTask
from tf_prompt.training.strategy import build_strategy

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
        strategy: `tf.distribute.Strategy`; None takes `build_strategy()`.

    Returns:
        A row an epoch: `epoch` from 1, losses, accuracies or cosines, `seconds`.

    Raises:
        ValueError: for options that do not fit together or the folder.
        FileNotFoundError: if the data is missing.
    """
    config = recipes.complete(config)
    presets.check(config.preset, settings(config.set))
    folder = dataset.find_data(config.data)
    run_folder.open_run(run_dir, config)
    task = _task_class(config.preset)(config, run_dir, folder)
    steps_per_epoch = _count_steps(task.num_examples, config.batch_size)
    policy = keras.mixed_precision.dtype_policy()
    if config.mixed_precision:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(config.seed)
        with (strategy or build_strategy()).scope():
            model = task.build_model()
            task.compile_model(model, steps_per_epoch)
            state = run_folder.load_checkpoint(model, run_dir)
        history = state["history"] if state else []
        return _fit(task, model, run_dir, steps_per_epoch, history)
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


def _fit(task, model, run_dir, steps_per_epoch, history):
    config = task.config
    done = len(history)
    if not config.epochs:
        run_folder.save_for_inference(model, run_dir / run_folder.BEST_MODEL)
        return history
    if done >= config.epochs or callbacks.should_stop(history, config.patience):
        print(f"{run_dir} is trained: {done} epochs", file=sys.stderr)
        return history
    if done:
        print(f"{run_dir}: going on after epoch {done}", file=sys.stderr)
    saver = callbacks.SaveEpoch(run_dir, history, steps_per_epoch, config.patience)
    averaging = [keras.callbacks.SwapEMAWeights()] if config.ema else []
    model.fit(
        task.training_batches(model, range(done, config.epochs)),
        validation_data=task.validation_batches(model),
        epochs=config.epochs,
        initial_epoch=done,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[
            callbacks.Progress(),
            *averaging,
            saver,
            keras.callbacks.TensorBoard(run_dir / "logs", write_graph=False),
        ],
    )
    return saver.history
