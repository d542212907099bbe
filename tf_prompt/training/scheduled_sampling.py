"""Trains a captioner on words of its own, more of them in each epoch."""

import keras
import tensorflow as tf
from keras import ops

from tf_prompt.data.text import PAD_ID
from tf_prompt.runs.config import FitConfig

# So that seeds of replicas differ from those of other runs.
_PRIME = 7919


def sampling_of(
    config: FitConfig, model: keras.Model
) -> list[keras.callbacks.Callback]:
    """The callback of a run that has scheduled sampling; else none.

    Args:
        config: the run's options, completed by `recipes`.
        model: see `ScheduledSampling`.
    """
    share = config.scheduled_sampling
    if not share:
        return []
    return [ScheduledSampling(model, share, config.epochs, config.seed)]


class ScheduledSampling(keras.callbacks.Callback):
    """Replaces some of the words that a captioner reads in training by its own.

    In decoding it reads what it has written, mistakes included. Its own word is the
    likeliest one after the true earlier words, from a first pass without a gradient.
    The share of words replaced rises linearly, from 0 in the first epoch to `share` in
    the last. The words to predict stay the true ones.

    Args:
        model: compiled captioner, not yet traced; its step is changed.
        share: float in (0, 1), share of words replaced in the last epoch.
        epochs: int > 1, number of epochs of the run.
        seed: int; with the optimiser's count of steps and the replica it determines
            which words. The parts of an accumulated step replace the same places.

    References: Bengio et al., 2015, https://arxiv.org/abs/1506.03099, section 2.4;
    Mihaylova and Martins, 2019, https://arxiv.org/abs/1906.07651, for two passes.
    """

    def __init__(self, model: keras.Model, share: float, epochs: int, seed: int):
        super().__init__()
        self._most, self._epochs, self._seed = share, epochs, seed
        with model.distribute_strategy.scope():
            self._share = tf.Variable(0.0, trainable=False)
        train_step = model.train_step

        def step(data):
            inputs, *rest = keras.utils.unpack_x_y_sample_weight(data)
            inputs = {**inputs, "token_ids": self._mix(model, inputs)}
            return train_step((inputs, *rest))

        model.train_step = step

    def on_epoch_begin(self, epoch, logs=None):
        self._share.assign(self._most * epoch / (self._epochs - 1))

    def _mix(self, model, inputs):
        """Returns the words to read, int `(batch, tokens)`."""
        true_ids = inputs["token_ids"]
        read = {name: part for name, part in inputs.items() if name != "target_ids"}
        found = ops.argmax(model(read, training=False), axis=-1)
        own = ops.concatenate([true_ids[:, :1], found[:, :-1]], axis=1)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(model.optimizer.iterations, tf.int32)
        seed = tf.stack([self._seed + _PRIME * replica, step])
        drawn = tf.random.stateless_uniform(tf.shape(true_ids), seed)
        # The start token stays, and so does padding.
        replaced = (drawn < self._share) & (true_ids != PAD_ID)
        replaced &= tf.range(tf.shape(true_ids)[1]) > 0
        return tf.where(replaced, tf.cast(own, true_ids.dtype), true_ids)
