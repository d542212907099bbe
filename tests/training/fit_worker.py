"""One worker of a test: trains as `TF_CONFIG` says and prints its weights' digest.

Not a test itself; `test_strategies.py` starts it, a process a worker.
"""

import hashlib
import json
import os
import pathlib
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402

from tf_prompt.options import DONE, command  # noqa: E402
from tf_prompt.runs.config import FitConfig  # noqa: E402
from tf_prompt.training import loop  # noqa: E402


class Digest(keras.callbacks.Callback):
    """Prints a digest of all weights after training."""

    def on_train_end(self, logs=None):
        weights = b"".join(w.tobytes() for w in self.model.get_weights())
        print(hashlib.sha256(weights).hexdigest(), flush=True)


class KillSelf(keras.callbacks.Callback):
    """Ends the process with SIGKILL at a step of an epoch."""

    def __init__(self, epoch, step):
        super().__init__()
        self._at = (epoch, step)
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self._epoch, batch) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def train(options, kill_at=None):
    """Runs `loop.train` with the callbacks above after its own."""
    more = [Digest(), *([KillSelf(*kill_at)] if kill_at else [])]
    fit_config = FitConfig(**{**options, "set": tuple(options["set"])})
    loop.train(fit_config, pathlib.Path(options["run_dir"]), callbacks=more)


@command
def main(argv=None) -> int:
    """Reads the options from the arguments, as JSON."""
    train(*map(json.loads, sys.argv[1:]))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
