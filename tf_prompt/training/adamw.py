"""AdamW in one pass over the weights."""

import keras
import tensorflow as tf
from keras import ops

from tf_prompt.training.batch_adamw import BatchAdamW


@keras.saving.register_keras_serializable(package="tf_prompt")
class OnePassAdamW(BatchAdamW):
    """Keras' AdamW, but each variable is updated by one of TensorFlow's kernels.

    Keras writes Adam as fifteen operations, each of which reads and writes arrays
    as large as the variable. Sparse gradients, as those of an embedding, and
    `amsgrad` take Keras' own way.

    Args:
        learning_rate: float or schedule.
        weight_decay: float >= 0, decoupled.
        **kwargs: passed to `BatchAdamW`.

    Reference: Loshchilov and Hutter, 2017, https://arxiv.org/abs/1711.05101.
    """

    def update_step(self, gradient, variable, learning_rate):
        if isinstance(gradient, tf.IndexedSlices) or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        step = ops.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=ops.power(ops.cast(self.beta_1, dtype), step),
            beta2_power=ops.power(ops.cast(self.beta_2, dtype), step),
            lr=ops.cast(learning_rate, dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, dtype),
        )
