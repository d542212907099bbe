"""Variants of AdamW: for several devices, gradient accumulation, layer-wise rates."""

import re

import keras
import tensorflow as tf
from keras import ops

from tf_prompt.training import private_names

# A repeated part of a backbone: `transformer_block_3`, `stack1_block0`, `block2`,
# `layers_3`, `stage_1/blocks_0`.
_BLOCK = re.compile(r"(?:stack\d+_|stage_\d+/)?(?:block|layer)s?_?\d+")

# Private names of Keras' optimizer: overridden here, and read here.
_OVERRIDDEN = (
    "_get_current_learning_rate",
    "_backend_apply_gradients",
    "_all_reduce_sum_gradients",
)
_READ = ("_learning_rate", "_distribution_strategy", "_get_variable_index")
_READ += ("_momentums", "_velocities")
_READ_IN_ROUNDS = ("_iterations", "_accumulated_gradients", "_use_weight_decay")
_MERGE_CALL = "__internal__.distribute.interim.maybe_merge_call"


def layer_factors(backbone: keras.Model, decay: float) -> dict[str, float]:
    """Computes layer-wise learning rate factors, higher for deeper blocks.

    Args:
        backbone: model whose blocks have numbered names, in order.
        decay: float in (0, 1], factor of a block relative to the next. The last block
            has `decay`; variables before the first block have the smallest factor.

    Returns:
        dict from the path of each trainable variable to its factor.

    Reference: Bao et al., 2021, https://arxiv.org/abs/2106.08254, "layer-wise decay"
    in the appendix.
    """
    depths, blocks = {}, []
    for variable in backbone.trainable_variables:
        match = _BLOCK.search(variable.path)
        if match and match[0] not in blocks:
            blocks.append(match[0])
        depths[variable.path] = len(blocks)
    return {path: decay ** (len(blocks) + 1 - d) for path, d in depths.items()}


@keras.saving.register_keras_serializable(package="tf_prompt")
class BatchAdamW(keras.optimizers.AdamW):
    """AdamW with equal results on one device, on several, and with accumulation.

    Keras clips the gradients of each replica before it sums them, so that more
    replicas clip more. Here they are summed first. On one device and without
    accumulation, this is Keras' AdamW.

    With `gradient_accumulation_steps`, Keras fails under a strategy, counts rounds
    instead of updates in the schedule, and updates averages of weights in each round.
    Here `n` rounds equal one update with the combined batch.

    Args:
        learning_rate: float or schedule, a function of the number of updates.
        **kwargs: passed to `keras.optimizers.AdamW`. With accumulation only
            `global_clipnorm` clips; without it, the gradients of repeated words of an
            embedding are summed before they are squared, which Keras does not do.
    """

    # While an update is traced: what is the same for all variables.
    _shared = None

    def build(self, variables):
        super().build(variables)
        private_names.require("keras", keras.optimizers.AdamW, *_OVERRIDDEN)
        private_names.require("keras", self, *_READ)
        if self.gradient_accumulation_steps:
            private_names.require("keras", self, *_READ_IN_ROUNDS)
            private_names.require("tensorflow", tf, _MERGE_CALL)
            # Keras' norm of an embedding's gradient squares each occurrence of a word
            # separately, so the rounds must sum such squares.
            self._word_squares = self.add_variable((), name="word_squares")

    def _get_current_learning_rate(self):
        if self._shared:
            return self._shared["rate"]
        schedule = keras.optimizers.schedules.LearningRateSchedule
        if isinstance(self._learning_rate, schedule):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()

    def _backend_apply_gradients(self, grads, trainable_variables):
        if self._has_replicas():
            context = tf.distribute.get_replica_context()
            grads = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
        if not self.gradient_accumulation_steps:
            # Keras traces the schedule anew for each variable.
            self._shared = self._share()
            try:
                super()._backend_apply_gradients(grads, trainable_variables)
            finally:
                self._shared = None
            return
        variables = [getattr(v, "value", v) for v in trainable_variables]
        # A condition inside a replica could not wait for the other replicas.
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._accumulate, self._distribution_strategy, list(grads), variables
        )

    def _share(self):
        if self._has_replicas():
            # Each device reads its own copy of the number of updates.
            return None
        return {"rate": ops.convert_to_tensor(self.learning_rate)}

    def _all_reduce_sum_gradients(self, grads_and_vars):
        if self._has_replicas():
            return grads_and_vars
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def _has_replicas(self):
        return self._distribution_strategy.num_replicas_in_sync > 1

    def _accumulate(self, strategy, grads, variables):
        """Adds a round's gradients, and updates after the last; outside of replicas."""
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
            # The first update initialises the average.
            momentum = self.ema_momentum * ops.cast(self.iterations != 0, average.dtype)
            average.assign(momentum * average + (1 - momentum) * variable)


class LayerwiseAdamW(BatchAdamW):
    """AdamW with a factor on the learning rate of each variable.

    Scaling gradients would not change Adam's steps, so the learning rate itself is
    scaled, and weight decay with it.

    Args:
        learning_rate: float or schedule.
        factors: dict from a variable's path to its factor; 1 if absent.
        frozen_steps: int >= 0, first steps in which the variables of `frozen` are not
            updated. Those steps need no gradients of them, see `HeadFirst`.
        frozen: paths of variables.
        weight_decay: float >= 0, decoupled.
        **kwargs: passed to `BatchAdamW`.

    Reference: Loshchilov and Hutter, 2017, https://arxiv.org/abs/1711.05101.
    """

    def __init__(
        self,
        learning_rate,
        factors=None,
        frozen_steps=0,
        frozen=(),
        weight_decay=0.01,
        **kwargs,
    ):
        # Keras' own decay uses one rate for all variables.
        super().__init__(learning_rate, weight_decay=0.0, **kwargs)
        self.factors = dict(factors or {})
        self.frozen_steps = frozen_steps
        self.frozen = frozenset(frozen)
        self.decay = weight_decay

    def build(self, variables):
        super().build(variables)
        # By index, because under a strategy `update_step` sees variables without paths.
        self._paths = [variable.path for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        path = self._paths[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype) * self.factors.get(path, 1.0)
        late = self.frozen_steps and path in self.frozen
        if late:
            moving = ops.cast(self.iterations >= self.frozen_steps, variable.dtype)
            rate = rate * moving
        self.assign_sub(variable, variable * self.decay * rate)
        if late:
            rate = rate * ops.cast(self._restart(), variable.dtype)
        super().update_step(gradient, variable, rate)

    def _restart(self):
        """Factor that makes Adam's bias correction count from the end of freezing.

        The moments of frozen variables are 0 until then. Counted from the first step
        of the run, the first updates would be up to six times too long.
        """
        total = ops.cast(self.iterations + 1, "float32")

        def correction(step):
            return ops.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)

        return correction(ops.maximum(total - self.frozen_steps, 1)) / correction(total)

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay": self.decay,
            "factors": self.factors,
            "frozen_steps": self.frozen_steps,
            "frozen": sorted(self.frozen),
        }


@keras.saving.register_keras_serializable(package="tf_prompt")
class OnePassAdamW(BatchAdamW):
    """AdamW that updates each variable with a single fused TensorFlow kernel.

    Keras implements Adam as fifteen operations, each of which reads and writes arrays
    of the variable's size. Sparse gradients, such as those of an embedding, and
    `amsgrad` use Keras' implementation.

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
        rate, *powers = self._scalars(learning_rate, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, dtype),
        )

    def _scalars(self, learning_rate, dtype):
        """Returns the learning rate and the powers of both betas."""
        shared = {} if self._shared is None else self._shared
        if dtype not in shared:
            step = ops.cast(self.iterations + 1, dtype)
            shared[dtype] = (
                ops.cast(learning_rate, dtype),
                ops.power(ops.cast(self.beta_1, dtype), step),
                ops.power(ops.cast(self.beta_2, dtype), step),
            )
        return shared[dtype]


def rate_by_layer(backbone, config, schedule, steps_per_epoch, **kwargs):
    """Builds the optimizer of a model whose backbone is trained.

    Args:
        backbone: the model's image network, see `layer_factors`.
        config: `FitConfig`, for `head_epochs` and `layer_decay`.
        schedule: learning rate, a float or a schedule.
        steps_per_epoch: int > 0, number of steps per epoch.
        **kwargs: passed to `LayerwiseAdamW`.

    Returns:
        `LayerwiseAdamW`.
    """
    return LayerwiseAdamW(
        schedule,
        layer_factors(backbone, config.layer_decay),
        config.head_epochs * steps_per_epoch,
        [variable.path for variable in backbone.trainable_variables],
        **kwargs,
    )


def _add_squares(squares, gradient):
    squares.assign_add(ops.sum(ops.square(gradient.values)))


def _set_zero(variable):
    variable.assign(0.0)


def accumulation(config) -> int | None:
    """Returns Keras' `gradient_accumulation_steps`: None for a single round."""
    return config.accumulate_steps if config.accumulate_steps > 1 else None
