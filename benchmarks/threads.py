"""The same number of threads for TensorFlow and PyTorch."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# As the commands set it, see `tf_prompt.options.command`.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from tf_prompt.options import import_tensorflow  # noqa: E402

import_tensorflow()
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402

from tf_prompt.data.graphs import without_tuning  # noqa: E402

THREADS = 2


def repeat_batch(batch) -> tf.data.Dataset:
    """One batch for ever, read as `fit` reads its batches."""
    return without_tuning(tf.data.Dataset.from_tensors(batch).repeat())


def pin() -> None:
    """Gives each library `THREADS` threads for one operation; call it first."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    torch.set_num_threads(THREADS)
