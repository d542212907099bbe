"""Loads slow parts in the background, while the page is already open."""

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Background(Generic[Made]):
    """Computes a value in a daemon thread.

    Args:
        make: function without arguments that returns the value.
    """

    def __init__(self, make: Callable[[], Made]):
        self._future: concurrent.futures.Future[Made] = concurrent.futures.Future()
        threading.Thread(target=self._run, args=(make,), daemon=True).start()

    def get(self) -> Made | None:
        """Returns the value; None if it is not ready yet."""
        return self._future.result() if self._future.done() else None

    def wait(self) -> Made:
        """Waits for the value and returns it, or raises the function's exception."""
        return self._future.result()

    def _run(self, make):
        try:
            self._future.set_result(make())
        # Any exception, because whoever waits must get it.
        except BaseException as error:
            self._future.set_exception(error)
