"""Shared parts of tasks whose models are not trained by gradient descent."""

import sys
from collections.abc import Sequence

import keras

from tf_prompt.runs.config import FitConfig
from tf_prompt.training.tasks.task import SHARED_OPTIONS, Task


class AtOnceTask(Task):
    """A task without epochs; subclasses define `load_state` and `_fit`.

    Args:
        config, run_dir, folder: see `Task`.
    """

    options = SHARED_OPTIONS
    recipe = {"batch_size": 64}

    @classmethod
    def check(cls, config: FitConfig) -> None:
        """See `Task`; there are no epochs."""

    def compile_model(self, model: keras.Model) -> None:
        """Does nothing: there is no gradient descent."""

    def fit(
        self,
        model: keras.Model,
        state: dict,
        deadline: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> list[dict]:
        """See `Task`; there are no epochs, and no callback is called."""
        if state.get("done"):
            print(f"{self.run_dir} is trained", file=sys.stderr)
        else:
            self._fit(model)
        return []

    def _fit(self, model: keras.Model) -> None:
        """Fits the model, and writes it and its files into the run's folder."""
        raise NotImplementedError
