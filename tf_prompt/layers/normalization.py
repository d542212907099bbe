"""Normalisation whose backward pass is one formula, in fewer operations than Keras'.

Outside of training, and on other backends than TensorFlow, both layers are Keras' own.
In training outputs and gradients are the same up to rounding. The classes have the
names of Keras' layers because these are in the files of saved models.
"""

import keras
from keras import ops

# Other backends call a gradient of one's own with other arguments.
OWN_GRADIENT = keras.config.backend() == "tensorflow"


@keras.saving.register_keras_serializable(package="tf_prompt")
class LayerNormalization(keras.layers.LayerNormalization):
    """Layer normalisation over the last axis.

    Args:
        **kwargs: passed to `keras.layers.LayerNormalization`; `axis` must be -1.

    Call arguments:
        x: float tensor `(…, width)`.

    Returns:
        float tensor like `x`.

    Reference: Ba et al., 2016, https://arxiv.org/abs/1607.06450.
    """

    def call(self, x, training=None):
        if not (training and OWN_GRADIENT):
            return super().call(x)
        gamma, beta = (ops.cast(w, "float32") for w in (self.gamma, self.beta))
        wide = ops.cast(x, "float32")
        return ops.cast(
            _layer_norm(self.epsilon)(wide, gamma, beta), self.compute_dtype
        )


def _layer_norm(epsilon):
    @ops.custom_gradient
    def forward(x, gamma, beta):
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        inverse = ops.rsqrt(variance + epsilon)
        normed = centred * inverse

        def gradient(upstream):
            scaled = upstream * gamma
            along = normed * ops.mean(scaled * normed, axis=-1, keepdims=True)
            of_x = scaled - ops.mean(scaled, axis=-1, keepdims=True) - along
            rows = tuple(range(len(x.shape) - 1))
            of_gamma = ops.sum(upstream * normed, axis=rows)
            return of_x * inverse, of_gamma, ops.sum(upstream, axis=rows)

        return normed * gamma + beta, gradient

    return forward


@keras.saving.register_keras_serializable(package="tf_prompt")
class GroupNormalization(keras.layers.GroupNormalization):
    """Group normalisation of feature maps.

    Args:
        groups: int > 0, number of groups of channels.
        **kwargs: passed to `keras.layers.GroupNormalization`; `axis` must be -1.

    Call arguments:
        x: float tensor `(batch, height, width, channels)`.

    Returns:
        float tensor like `x`.

    Reference: Wu and He, 2018, https://arxiv.org/abs/1803.08494.
    """

    def call(self, x, training=None):
        if not (training and OWN_GRADIENT):
            return super().call(x)
        gamma, beta = (ops.cast(w, "float32") for w in (self.gamma, self.beta))
        _, height, width, channels = x.shape
        flat = ops.reshape(ops.cast(x, "float32"), (-1, height * width, channels))
        found = _group_norm(self.groups, self.epsilon)(flat, gamma, beta)
        found = ops.reshape(found, (-1, height, width, channels))
        return ops.cast(found, self.compute_dtype)


def _group_norm(groups, epsilon):
    """Builds the function of `x`, `(batch, places, channels)`, scale and offset."""

    @ops.custom_gradient
    def forward(x, gamma, beta):
        _, places, channels = x.shape

        def average(values):
            """Mean over places and group of sums over places, for each channel."""
            size = channels // groups
            parts = ops.reshape(values, (-1, groups, size))
            means = ops.mean(parts, axis=-1, keepdims=True) / places
            return ops.reshape(ops.repeat(means, size, axis=-1), (-1, 1, channels))

        centred = x - average(ops.sum(x, axis=1))
        variance = average(ops.sum(ops.square(centred), axis=1))
        inverse = ops.rsqrt(variance + epsilon)

        def gradient(upstream):
            # Sums over places only: what else is needed follows from them.
            plain, along = ops.sum(upstream, 1), ops.sum(upstream * centred, 1)
            along = along * inverse[:, 0]
            of_gamma, of_beta = ops.sum(along, axis=0), ops.sum(plain, axis=0)
            shift = average(plain * gamma) * inverse
            slope = average(along * gamma) * ops.square(inverse)
            of_x = upstream * (inverse * gamma) - centred * slope - shift
            return of_x, of_gamma, of_beta

        return centred * (inverse * gamma) + beta, gradient

    return forward
