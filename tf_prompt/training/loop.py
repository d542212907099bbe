"""Training: data, model and `model.fit`, from a config to a run folder."""

import pathlib
import sys

import keras

from tf_prompt import text
from tf_prompt.config import FitConfig, settings
from tf_prompt.data import dataset
from tf_prompt.models import encoders, presets
from tf_prompt.training import callbacks, run_folder
from tf_prompt.training.accuracy import TokenAccuracy
from tf_prompt.training.schedules import WarmUpCosine
from tf_prompt.training.strategy import build_strategy


def train(config: FitConfig, run_dir: pathlib.Path, strategy=None) -> list[dict]:
    """Trains a captioner, or goes on with the run that is in the folder.

    Args:
        config: the run's options.
        run_dir: folder of the run; created, and filled as in `run_folder`.
        strategy: `tf.distribute.Strategy`; None takes `build_strategy()`.

    Returns:
        A row an epoch: `epoch` from 1, losses, accuracies, `learning_rate`,
        `seconds`.

    Raises:
        ValueError: for options that do not fit together or the folder.
        FileNotFoundError: if the data is missing.
    """
    presets.check(config.preset, settings(config.set))
    folder = dataset.find_data(config.data)
    run_folder.open_run(run_dir, config)
    vocabulary, steps_per_epoch = _read_data(config, run_dir, folder)
    policy = keras.mixed_precision.dtype_policy()
    if config.mixed_precision:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(config.seed)
        with (strategy or build_strategy()).scope():
            model = build_model(config, len(vocabulary))
            compile_model(model, config, steps_per_epoch)
            state = run_folder.load_checkpoint(model, run_dir)
        history = state["history"] if state else []
        return _fit(
            model, config, run_dir, folder, vocabulary, steps_per_epoch, history
        )
    finally:
        keras.mixed_precision.set_dtype_policy(policy)


def build_model(config: FitConfig, vocab_size: int) -> keras.Model:
    """Builds a run's model, the pretrained weights of its backbone in place.

    Raises:
        ValueError: if these weights are not at hand, or not wanted by the encoder.
    """
    overrides = {
        "vocab_size": vocab_size,
        "max_tokens": config.max_words + 1,
        "rotation_degrees": config.rotation_degrees,
        "flip": config.flip,
        "erasing_rate": config.erasing_rate,
        **settings(config.set),
    }
    model = presets.build(config.preset, **overrides)
    if model.encoder in encoders.PRETRAINED:
        if config.backbone_weights != "random":
            encoders.load_backbone_weights(
                model.image_encoder, model.encoder, config.backbone_weights
            )
    elif config.backbone_weights:
        raise ValueError(
            f"backbone_weights goes with a pretrained encoder; that of "
            f"{config.preset} is trained from the start. "
            f"Received: {config.backbone_weights}"
        )
    return model


def compile_model(model: keras.Model, config: FitConfig, steps_per_epoch: int) -> None:
    """Gives the model AdamW, warm-up and cosine decay, loss and accuracy."""
    schedule = WarmUpCosine(
        config.learning_rate, config.warmup_steps, config.epochs * steps_per_epoch
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm
        ),
        # Padding and the mean over words are in the weights of `weigh_words`.
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[TokenAccuracy()],
        # Batches differ in length: XLA would compile again for each.
        jit_compile=False,
    )


def _read_data(config, run_dir, folder):
    counts, num_examples = dataset.count_words(folder)
    if num_examples < config.batch_size:
        raise ValueError(
            f"batch_size must be at most the number of training examples, "
            f"{num_examples}. Received: {config.batch_size}"
        )
    path = run_dir / run_folder.VOCABULARY
    if not path.is_file():
        vocabulary = text.build_vocabulary(counts, config.vocab_size)
        text.write_vocabulary(vocabulary, path)
    return text.read_vocabulary(path), num_examples // config.batch_size


def _fit(model, config, run_dir, folder, vocabulary, steps_per_epoch, history):
    done = len(history)
    if done >= config.epochs or callbacks.should_stop(history, config.patience):
        print(f"{run_dir} is trained: {done} epochs", file=sys.stderr)
        return history
    if done:
        print(f"{run_dir}: going on after epoch {done}", file=sys.stderr)
    sizes = {"image_size": model.image_size, "max_words": config.max_words}
    batches = dataset.training_batches(
        folder,
        vocabulary,
        batch_size=config.batch_size,
        seed=config.seed,
        epochs=range(done, config.epochs),
        shuffle_buffer=config.shuffle_buffer,
        **sizes,
    )
    validation = dataset.validation_batches(
        folder, vocabulary, batch_size=config.batch_size, **sizes
    )
    saver = callbacks.SaveEpoch(run_dir, history, steps_per_epoch, config.patience)
    model.fit(
        batches,
        validation_data=validation,
        epochs=config.epochs,
        initial_epoch=done,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[
            callbacks.Progress(),
            saver,
            keras.callbacks.TensorBoard(run_dir / "logs", write_graph=False),
        ],
    )
    return saver.history
