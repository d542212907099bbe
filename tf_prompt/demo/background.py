"""What takes long to make, and is made while the page is already open."""

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Background(Generic[Made]):
    """Makes something in a thread, which ends with the process.

    Args:
        make: function that makes it.
    """

    def __init__(self, make: Callable[[], Made]):
        self._future: concurrent.futures.Future[Made] = concurrent.futures.Future()
        threading.Thread(target=self._run, args=(make,), daemon=True).start()

    def get(self) -> Made | None:
        """Gives what was made; None if it is not there yet."""
        return self._future.result() if self._future.done() else None

    def wait(self) -> Made:
        """Gives what was made when it is there; raises what making it raised."""
        return self._future.result()

    def _run(self, make):
        try:
            self._future.set_result(make())
        # All of it: whoever waits must be told.
        except BaseException as error:
            self._future.set_exception(error)
