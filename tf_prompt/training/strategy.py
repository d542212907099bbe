"""Which devices train."""

import tensorflow as tf


def build_strategy(devices=None) -> tf.distribute.Strategy:
    """Mirrors the model on all GPUs of this machine, or on its CPU.

    Args:
        devices: names such as `["CPU:0", "CPU:1"]`; None takes what there is.
    """
    return tf.distribute.MirroredStrategy(devices)
