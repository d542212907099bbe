"""Slow work that is done while the page is already open."""

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Background(Generic[Made]):
    """Computes a value in a daemon thread.

    Args:
        make: function that computes it.
    """

    def __init__(self, make: Callable[[], Made]):
        self._future: concurrent.futures.Future[Made] = concurrent.futures.Future()
        threading.Thread(target=self._run, args=(make,), daemon=True).start()

    def get(self) -> Made | None:
        """Returns the value, or None if it is not ready."""
        return self._future.result() if self._future.done() else None

    def wait(self) -> Made:
        """Waits for the value and returns it, or raises the exception of `make`."""
        return self._future.result()

    def _run(self, make):
        try:
            self._future.set_result(make())
        # Every exception, because whoever waits must get it.
        except BaseException as error:
            self._future.set_exception(error)
