"""Limits the GPU memory that a command takes."""

import tensorflow as tf


def bound_gpu_memory(megabytes: int | None) -> None:
    """Limits the memory that TensorFlow takes on each GPU.

    Call it before the first operation.

    Args:
        megabytes: int > 0, MB on each GPU; None sets no limit.

    Raises:
        ValueError: if TensorFlow already uses a GPU.
    """
    if megabytes is None:
        return
    bounded = [tf.config.LogicalDeviceConfiguration(memory_limit=megabytes)]
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.set_logical_device_configuration(gpu, bounded)
    except RuntimeError as error:
        raise ValueError(
            "gpu_memory must be given before TensorFlow uses a GPU. "
            f"Received: {megabytes}, too late"
        ) from error
