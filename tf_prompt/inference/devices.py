"""How much of a GPU's memory a command takes."""

import tensorflow as tf


def bound_gpu_memory(megabytes: int | None) -> None:
    """Limits the memory that TensorFlow takes on each GPU.

    It must come before the first operation.

    Args:
        megabytes: int > 0, MB on each GPU; None sets no bound.

    Raises:
        ValueError: if TensorFlow uses a GPU already.
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
