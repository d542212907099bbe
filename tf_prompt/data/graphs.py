"""Compiles functions to TensorFlow graphs."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# AutoGraph rewrites Python's `if` and `while` into operations, in a function and in all
# that it calls. Ours are written with operations, and the rewriting took a third of the
# time to a first prompt. A decorator of what is given to tf.data, or of what gives it.
as_written = tf.autograph.experimental.do_not_convert


def compile_function(function: Callable, signature: Sequence[tf.TensorSpec]):
    """Returns a `tf.function` with a fixed signature, without AutoGraph."""
    return tf.function(function, input_signature=signature, autograph=False)
