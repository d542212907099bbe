"""How TensorFlow traces functions into graphs, and runs those of tf.data."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# AutoGraph rewrites Python's `if` and `while` into operations, in a function and in all
# that it calls. Our functions already use operations, and the rewriting took a third of
# the time to a first prompt. Decorates functions passed to tf.data, or their callers.
as_written = tf.autograph.experimental.do_not_convert


def compile_function(function: Callable, signature: Sequence[tf.TensorSpec]):
    """Returns a `tf.function` with a fixed signature, without AutoGraph.

    Args:
        function: Python function of tensors.
        signature: one `tf.TensorSpec` per argument.
    """
    return tf.function(function, input_signature=signature, autograph=False)


def without_tuning(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Turns off tf.data's rewriting and tuning of a pipeline.

    Each pipeline of this project ends with it. The tuning thread sleeps twice as long
    each time, up to a minute, and the end of a pass over the data sometimes waits for
    it: 3.7 s of training then take 5.1 s. Rewriting the graph takes longer (0.2 s per
    pass) than it saves, because these pipelines already state what runs in parallel.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return batches.with_options(options)
