"""Shortcuts past what Keras and TensorFlow do at length, and tests do not need.

The suite builds thousands of small models and graphs. None of these shortcuts changes
a result.
"""

import functools
import gc
import random

import tensorflow as tf
from keras.src.saving import saving_lib
from tensorflow.python.eager import context
from tensorflow.python.ops import gen_resource_variable_ops

from tf_prompt.training import strategy


def take() -> None:
    """Takes all of them, for the rest of the process."""
    _leave_variables_unnamed()
    _train_on_one_cpu()
    _keep_kernels()
    # Keras 3.15 means to keep these sets, but looks for them under another name.
    saving_lib.get_attr_skipset = functools.cache(saving_lib.get_attr_skipset)
    # Hundreds of thousands of objects of the libraries never become garbage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _leave_variables_unnamed():
    """Gives all variables the same name in messages of TensorFlow's runtime.

    For each name it compiles a function, which takes five times as long as all else
    about a small variable.
    """
    make = gen_resource_variable_ops.var_handle_op

    def var_handle_op(*arguments, **options):
        return make(*arguments, **(options | {"debug_name": ""}))

    gen_resource_variable_ops.var_handle_op = var_handle_op


def _train_on_one_cpu():
    """Gives a training that names no devices one CPU, as on most machines.

    The process has two for the tests of several devices, and a step is traced for
    each.
    """
    build = strategy._build_mirrored

    def build_mirrored(devices):
        if devices is None and not tf.config.list_physical_devices("GPU"):
            devices = ["CPU:0"]
        return build(devices)

    strategy._build_mirrored = build_mirrored


def _keep_kernels():
    """Keeps TensorFlow's kernels when a test sets the seed.

    To drop them all is meant for random operations that have a state. We use none, and
    each kernel would be made again in the next test.
    """

    def set_global_seed(self, seed):
        self._seed = seed
        self._rng = random.Random(seed)

    context.Context._set_global_seed = set_global_seed
