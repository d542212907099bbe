"""Shortcuts past what Keras and TensorFlow do for people only, and at length.

The suite builds thousands of small models and graphs. None of these shortcuts changes
a result; together they save a tenth of the suite's time.
"""

import functools
import gc

from keras.src.saving import saving_lib
from tensorflow.python.ops import gen_resource_variable_ops


def take() -> None:
    """Takes all of them, for the rest of the process."""
    _leave_variables_unnamed()
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
