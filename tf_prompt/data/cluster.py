"""Shares work on the files of a folder among the workers of a Dask cluster."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

# The cluster on which `fit` and others compute what is stored beside shards. It is not
# a flag, because a run does not depend on it.
VARIABLE = "TF_PROMPT_SCHEDULER"
_SECONDS_TO_ANSWER = 30


def address() -> str | None:
    """Returns the scheduler that the environment names, or None."""
    return os.environ.get(VARIABLE) or None


def run(
    function: Callable, items: Iterable, scheduler: str
) -> Iterator[tuple[object, object]]:
    """Calls a function on each item, on the workers of a cluster.

    The items of a worker that dies go to the others. An item is given up after four
    workers died while working on it. Nothing is written here: the function writes its
    own files, atomically, since it may run more than once per item.

    Args:
        function: what to call; it is sent to the workers with all that it refers to.
        items: its arguments. Few are sent ahead, so they may be large.
        scheduler: address, such as `tcp://host:8786`.

    Returns:
        An iterator of item and result, in the order in which they are done.

    Raises:
        OSError: if the scheduler does not answer, has no workers, or workers die.
        ValueError: if the extra is missing or the address is invalid.
        Exception: whatever `function` raises.
    """
    try:
        import distributed
    except ImportError as error:
        raise ValueError(
            'a scheduler needs an extra: pip install "tf_prompt[cluster]"'
        ) from error
    items, item_of = iter(items), {}
    with _connect(scheduler) as client:
        while True:
            # Workers come and go.
            room = max(1, 2 * sum(client.nthreads().values())) - len(item_of)
            for item in itertools.islice(items, max(0, room)):
                item_of[client.submit(_work, function, item, pure=False)] = item
            if not item_of:
                return
            try:
                with client.as_current():
                    done, _ = distributed.wait(
                        list(item_of), return_when="FIRST_COMPLETED"
                    )
                results = [(item_of.pop(future), future.result()) for future in done]
            except (
                distributed.client.FutureCancelledError,
                distributed.scheduler.KilledWorker,
                distributed.CancelledError,
            ) as error:
                raise OSError(
                    "the scheduler or too many workers died, perhaps for lack of "
                    f"memory; the same command goes on from here ({error})"
                ) from error
            yield from results


@contextlib.contextmanager
def _connect(scheduler: str):
    import distributed

    client = None
    try:
        try:
            client = distributed.Client(
                scheduler, timeout=_SECONDS_TO_ANSWER, set_as_default=False
            )
            client.wait_for_workers(1, timeout=_SECONDS_TO_ANSWER)
        except (OSError, TimeoutError) as error:
            lack = "answer" if client is None else "have workers"
            raise OSError(f"scheduler must {lack}. Received: {scheduler}") from error
        yield client
    finally:
        if client:
            client.close()


def _work(function: Callable, item):
    # A worker with one thread computes with one, like our worker processes.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return function(item)
