"""Learning rates over the steps of a run."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tf_prompt")
class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Rises in a line to the peak, then falls to 0 along half a cosine.

    `keras.optimizers.schedules.CosineDecay` gives the same numbers through a
    branch, and weight decay asks for the rate once a variable: 83 branches took
    2.5 of the 19 CPU seconds of a small run's start.

    Args:
        peak: float >= 0. The rate after warm-up.
        warmup_steps: int >= 0.
        total_steps: int > 0. All steps of the run, warm-up included; the rate
            is 0 from there on.

    Reference: Loshchilov and Hutter, 2016, https://arxiv.org/abs/1608.03983,
    eq. 5 without restarts.
    """

    def __init__(self, peak, warmup_steps, total_steps):
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = step / max(1, self.warmup_steps)
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        falling = 0.5 * (1 + ops.cos(math.pi * ops.clip(done, 0, 1)))
        return self.peak * ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }
