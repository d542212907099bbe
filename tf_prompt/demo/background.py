"""Loads slow parts in the background, while the page is already open."""

import concurrent.futures
import os
import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")
_NAME = "tf_prompt background"


class Background(Generic[Made]):
    """Computes a value in a daemon thread, once it is started or waited for.

    Args:
        make: function without arguments that returns the value.
    """

    def __init__(self, make: Callable[[], Made]):
        self._future: concurrent.futures.Future[Made] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=self._run, args=(make,), daemon=True, name=_NAME
        )
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the thread, if this has not been done."""
        with self._lock:
            if self._thread.ident is None:
                self._thread.start()

    def get(self) -> Made | None:
        """Returns the value; None if it is not ready yet."""
        return self._future.result() if self._future.done() else None

    def wait(self) -> Made:
        """Waits for the value and returns it, or raises the function's exception."""
        self.start()
        return self._future.result()

    def _run(self, make):
        try:
            self._future.set_result(make())
        # Any exception, because whoever waits must get it.
        except BaseException as error:
            self._future.set_exception(error)


def leave(code: int) -> int:
    """Returns an exit code, or ends the process with it if a thread still computes.

    Python cannot end such a thread: in TensorFlow, it would abort the process.
    """
    if any(thread.name == _NAME for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
