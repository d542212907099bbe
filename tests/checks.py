"""Checks that every layer, model and transform passes."""

import inspect

import keras
import numpy as np
import tensorflow as tf


def outputs_of(transform, example):
    """Runs a transform eagerly and inside tf.data; yields both results."""
    yield transform(example)
    dataset = tf.data.Dataset.from_tensors(example).map(transform)
    yield next(iter(dataset))


def check_config(layer):
    """`get_config` holds every constructor argument, with the attribute's value."""
    config = layer.get_config()
    parents = [c for c in type(layer).__mro__ if c.__module__.startswith("tf_prompt")]
    names = {n for c in parents for n in inspect.signature(c.__init__).parameters}
    for name in names - {"self", "args", "kwargs"}:
        assert name in config, f"{name} is missing from get_config"
        assert config[name] == getattr(layer, name)
    copy = type(layer).from_config(config)
    assert copy.get_config() == config


def check_layer(layer, *inputs):
    """Config, gradients to every weight, and the same output from a copy.

    Args:
        layer: layer to check.
        *inputs: float arrays for `call`.

    Returns:
        The layer's output on the inputs.
    """
    check_config(layer)
    tensors = [tf.constant(x) for x in inputs]
    output = layer(*tensors)
    with tf.GradientTape() as tape:
        flat = tf.nest.flatten(layer(*tensors))
        total = sum(tf.reduce_sum(tf.cast(x, "float32") ** 2) for x in flat)
    check_gradients(layer, tape, total)
    copy = type(layer).from_config(layer.get_config())
    copy(*tensors)
    copy.set_weights(layer.get_weights())
    for ours, theirs in zip(flat, tf.nest.flatten(copy(*tensors)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    return output


def check_model(model, inputs, tmp_path):
    """Config, gradients, and the same output after save and load."""
    check_config(model)
    with tf.GradientTape() as tape:
        output = model(inputs, training=True)
        total = tf.reduce_sum(tf.cast(output, "float32") ** 2)
    check_gradients(model, tape, total)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_allclose(loaded(inputs), model(inputs), atol=1e-6)


def check_gradients(layer, tape, total):
    """Every trainable weight has a gradient, and it is finite."""
    assert layer.trainable_variables
    gradients = tape.gradient(total, [v.value for v in layer.trainable_variables])
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        assert gradient is not None, f"{variable.path} has no gradient"
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.path


def exit_code(main, argv):
    """The exit code of a command, whether `main` returns or its parser exits."""
    try:
        return main(argv)
    except SystemExit as error:
        return error.code
