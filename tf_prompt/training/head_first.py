"""Trains the head alone in the first epochs, without gradients of the backbone."""

import contextlib

import keras


class HeadFirst(keras.callbacks.Callback):
    """Leaves the frozen variables of `LayerwiseAdamW` out of the first epochs' steps.

    The backward pass then ends at the backbone, and `clip_norm` limits the gradients
    of the head alone. Afterwards the step is traced again, with all variables.

    Args:
        model: compiled with `LayerwiseAdamW`, not yet traced; its step is changed.
        epochs: int > 0, number of first epochs in which only the head is trained.
        done: int >= 0, number of epochs already trained.
    """

    def __init__(self, model: keras.Model, epochs: int, done: int = 0):
        super().__init__()
        self._epochs, self._skips = epochs, done < epochs
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        frozen = [v for v in model.trainable_variables if v.path in optimizer.frozen]
        train_step = model.train_step

        def step(data):
            with _left_out(frozen if self._skips else ()):
                return train_step(data)

        model.train_step = step

    def on_epoch_begin(self, epoch, logs=None):
        if self._skips and epoch >= self._epochs:
            self._skips = False
            self.model.make_train_function(force=True)


@contextlib.contextmanager
def _left_out(variables):
    """While a step is traced, its variables to differentiate are without these.

    The layers stay trainable: batch normalisation would otherwise change its mode.
    """
    try:
        for variable in variables:
            variable.trainable = False
        yield
    finally:
        for variable in variables:
            variable.trainable = True
