"""Builds a model that is compiled before `model.fit` would."""

import keras
import tensorflow as tf

# Private names of Keras 3.15: what `fit` and `evaluate` begin with, and what it calls.
NAMES = ("_maybe_symbolic_build", "_symbolic_build")


def build_once(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Builds a compiled model, its optimiser and its metrics, under its strategy.

    Keras would learn the shapes from a batch, and read one again before each
    validation: a shuffle buffer filled for nothing, and images decoded twice. A
    version of Keras without these names still does so.

    Args:
        model: compiled.
        batches: what it will be fitted on, for their shapes.
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
