"""Builds a compiled model before `model.fit` would."""

import keras
import tensorflow as tf

# Private names of Keras 3.15: what `fit` and `evaluate` begin with, and what it calls.
NAMES = ("_maybe_symbolic_build", "_symbolic_build")


def build_once(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Builds a compiled model, its optimiser and its metrics, under its strategy.

    Keras would learn the shapes from a batch, and read another before each validation,
    which fills a shuffle buffer for nothing and decodes images twice. It would then
    delete an iterator that still reads, and with a strategy TensorFlow 2.21 may crash
    there: it frees the functions of a dataset before it waits for the thread that calls
    them. With a version of Keras that lacks these names, this does nothing.

    Args:
        model: compiled model; changed.
        batches: its training data, for their shapes.
    """
    if not all(hasattr(model, name) for name in NAMES):
        return
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=_blank(batches.element_spec))
    model._maybe_symbolic_build = lambda iterator=None, data_batch=None: None


def _blank(spec):
    """A batch of two zeros for each part of a spec."""
    return tf.nest.map_structure(
        lambda s: tf.zeros([2 if d is None else d for d in s.shape], s.dtype), spec
    )
