"""Workaround for `model.fit` on several machines in Keras 3.15.

Keras issue 20585, https://github.com/keras-team/keras/issues/20585: before the first
step `model.fit` reduces a batch over the replicas to find its shape, although each
worker has a plain tensor; after each step it reduces the logs, which are scalars,
along an axis that scalars lack. `tests/training/test_strategies.py` fails as soon as
Keras no longer needs this module.
"""

import types

import keras
import tensorflow as tf

from tf_prompt.training import building, private_names

_REPLACED = "_get_metrics_result_or_logs"


def repair(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Makes `model.fit` of a compiled model work with several workers.

    Builds the model, its optimizer and its metrics under the strategy.

    Args:
        model: compiled under a `MultiWorkerMirroredStrategy`.
        batches: its training data, for their shapes.

    Raises:
        ValueError: in a version of Keras with which this was not tested.
    """
    private_names.require_tried("keras", "strategy multi_worker needs a known Keras:")
    private_names.require("keras", model, *building.NAMES, _REPLACED)
    building.build_once(model, batches)
    for name in ("train_step", "test_step"):
        setattr(model, name, _with_rows(getattr(model, name)))
    # Scalars again; the metrics' variables hold the sums of all replicas.
    model._get_metrics_result_or_logs = types.MethodType(_read_metrics, model)


def _with_rows(step):
    def with_rows(data):
        return {name: tf.reshape(value, (1,)) for name, value in step(data).items()}

    return with_rows


def _read_metrics(model, logs):
    return {name: float(value) for name, value in model.get_metrics_result().items()}
