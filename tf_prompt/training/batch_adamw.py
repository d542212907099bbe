"""AdamW to which the parts of a batch are the batch."""

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="tf_prompt")
class BatchAdamW(keras.optimizers.AdamW):
    """AdamW that gives the same on one device, several, and in several rounds.

    Keras clips the gradients of each replica before it adds them, so that more
    replicas clip more. Here they are added first. On one device, in one round, all is
    as Keras has it.

    With `gradient_accumulation_steps` Keras fails under a strategy, gives the
    schedule rounds in place of updates, and moves averages of weights in each round.
    Here `n` rounds are one update with the batch of all.

    Args:
        learning_rate: float or schedule, a function of updates.
        **kwargs: passed to `keras.optimizers.AdamW`. In several rounds only
            `global_clipnorm` clips, and without it repeated words of an embedding
            are squared together, which Keras does apart.
    """

    def build(self, variables):
        super().build(variables)
        if self.gradient_accumulation_steps:
            # Keras' norm of an embedding's gradient squares the part of each word by
            # itself, also where a word comes twice: rounds must add up such squares.
            self._word_squares = self.add_variable((), name="word_squares")

    def _get_current_learning_rate(self):
        schedule = keras.optimizers.schedules.LearningRateSchedule
        if isinstance(self._learning_rate, schedule):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()

    def _backend_apply_gradients(self, grads, trainable_variables):
        if self._has_replicas():
            context = tf.distribute.get_replica_context()
            grads = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
        if not self.gradient_accumulation_steps:
            super()._backend_apply_gradients(grads, trainable_variables)
            return
        variables = [getattr(v, "value", v) for v in trainable_variables]
        # A condition within a replica could not wait for the others.
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._accumulate, self._distribution_strategy, list(grads), variables
        )

    def _all_reduce_sum_gradients(self, grads_and_vars):
        if self._has_replicas():
            return grads_and_vars
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def _has_replicas(self):
        return self._distribution_strategy.num_replicas_in_sync > 1

    def _accumulate(self, strategy, grads, variables):
        """Adds a round's gradients; after the last round updates, outside replicas."""
        extended, rounds = strategy.extended, self.gradient_accumulation_steps
        dense = []
        for gradient, variable in zip(grads, variables, strict=True):
            extended.update(variable, self._add, args=(gradient,), group=False)
            local = strategy.experimental_local_results(gradient)[0]
            if isinstance(local, tf.IndexedSlices):
                squares = self._word_squares.value
                extended.update(squares, _add_squares, args=(gradient,), group=False)
            else:
                dense.append(variable)

        def update():
            arguments = (self._clip_scale(dense), self.learning_rate)
            for variable in variables:
                extended.update(variable, self._update, args=arguments, group=False)
            extended.update(self._word_squares.value, _set_zero, group=False)
            return tf.constant(0)

        is_last = tf.equal((self._iterations + 1) % rounds, 0)
        tf.cond(is_last, update, lambda: tf.constant(0))

    def _add(self, variable, gradient):
        sums = self._accumulated_gradients[self._get_variable_index(variable)]
        part = tf.convert_to_tensor(gradient) / self.gradient_accumulation_steps
        sums.assign(sums + part)

    def _clip_scale(self, dense_variables):
        if not self.global_clipnorm:
            return tf.constant(1.0)
        squares = [self._word_squares / self.gradient_accumulation_steps**2]
        for variable in dense_variables:
            sums = self._accumulated_gradients[self._get_variable_index(variable)]
            squares.append(ops.sum(ops.square(sums)))
        norm = ops.sqrt(ops.sum(ops.stack(squares)))
        return self.global_clipnorm / ops.maximum(norm, self.global_clipnorm)

    def _update(self, variable, scale, rate):
        index = self._get_variable_index(variable)
        sums = self._accumulated_gradients[index]
        if self.weight_decay and self._use_weight_decay(variable):
            variable.assign_sub(variable * self.weight_decay * rate)
        self.update_step(sums * scale, variable, rate)
        sums.assign(ops.zeros_like(sums))
        if self.use_ema:
            average = self._model_variables_moving_average[index]
            # The first update begins the average.
            momentum = self.ema_momentum * ops.cast(self.iterations != 0, average.dtype)
            average.assign(momentum * average + (1 - momentum) * variable)


def _add_squares(squares, gradient):
    squares.assign_add(ops.sum(ops.square(gradient.values)))


def _set_zero(variable):
    variable.assign(0.0)


def accumulation(config) -> int | None:
    """What Keras wants in place of `accumulate_steps`: None for one round."""
    return config.accumulate_steps if config.accumulate_steps > 1 else None
