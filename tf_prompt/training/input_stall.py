"""Measures how much of a run's time is spent waiting for data."""

import time

import keras
import tensorflow as tf

from tf_prompt.training.callbacks import OnEachStep


class InputStall(OnEachStep):
    """Measures the share of an epoch's time in which the model waits for data.

    A step fetches its batch inside the compiled function, where Python's clock cannot
    see the wait. `watch` makes the function record when the batch has arrived; the
    time from the step's start to that moment is the wait, dispatch included. The
    share goes into the epoch's logs as `input_stall`, for TensorBoard.

    Args:
        skipped: int >= 0, number of steps to skip at the start.
    """

    def __init__(self, skipped: int = 0):
        super().__init__(skipped)
        self._arrived = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._traced = None

    def watch(self, model: keras.Model) -> None:
        """Adds the clock to a compiled model; call it before the first step."""
        train_step = model.train_step

        def timed_step(data):
            with tf.control_dependencies(tf.nest.flatten(data)):
                now = tf.timestamp()
            self._arrived.assign(now)
            return train_step(data)

        model.train_step = timed_step

    def on_epoch_begin(self, epoch, logs=None):
        self._waited = self._trained = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        # The same clock as `tf.timestamp`.
        self._began = time.time()

    def on_step(self, step, logs):
        if self._traced is self.model.train_function:
            self._waited += max(0.0, float(self._arrived.numpy()) - self._began)
            self._trained += time.time() - self._began
        # The first step of a function traces it, which can take minutes.
        self._traced = self.model.train_function

    def on_epoch_end(self, epoch, logs=None):
        if self._trained:
            logs["input_stall"] = self._waited / self._trained
