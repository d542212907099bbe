"""One process of `workers.convert_parts`; prepares TensorFlow before importing it."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable

from tf_prompt.options import import_tensorflow

# Number of parts done by this worker and its siblings, a float in shared memory.
_progress = None


def start(progress) -> None:
    """Prepares the process.

    Args:
        progress: shared float that counts finished parts.
    """
    global _progress
    _progress = progress
    # The parent gets Ctrl-C too, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def convert(convert_part: Callable[..., dict], part) -> dict:
    """Runs `convert_part` on a part, and adds its progress to the shared counter.

    Args:
        convert_part: function of a part and `advance`.
        part: the part.

    Returns:
        The result of `convert_part`.
    """
    return convert_part(part, advance=_advance)


def _advance(num_parts: float) -> None:
    with _progress.get_lock():
        _progress.value += num_parts


def _end_with_parent() -> None:
    # A worker that outlived a killed parent would write beside the next run.
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
