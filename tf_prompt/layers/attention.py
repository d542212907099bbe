"""Additive attention over the regions of an image."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive


@keras.saving.register_keras_serializable(package="tf_prompt")
class AdditiveAttention(keras.layers.Layer):
    """Lets a decoder state attend to every region of an image.

    Each region is scored by a one-hidden-layer network; the scores become
    weights, and the weighted sum of the regions is the context vector. The part
    of the network that sees only regions is `project_regions`, which a decoder
    runs once per image instead of once per word.

    Args:
        units: int > 0, width of the scoring network.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        state: float tensor `(states, state_dim)`, hidden states of the decoder: one
            per image, or the same number for each in consecutive rows.
        regions: float tensor `(batch, regions, depth)`, encoder features.
        keys: optional float tensor `(batch, regions, units)`, the result of
            `project_regions(regions)`; computed if not given.

    Returns:
        context: `(states, depth)`.
        weights: `(states, regions)`, non-negative, summing to 1 on each row.

    Raises:
        ValueError: if `units` is not positive.

    Reference: Bahdanau et al., 2014, https://arxiv.org/abs/1409.0473,
    eqs. 5-6 and appendix A.1.2. Here each projection has a bias, as in Kalisz's
    table of parameters.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        check_positive(units=units)
        self.units = units
        dtype = self.dtype_policy
        self.state_proj = keras.layers.Dense(units, dtype=dtype, name="state_proj")
        self.region_proj = keras.layers.Dense(units, dtype=dtype, name="region_proj")
        self.score = keras.layers.Dense(1, dtype=dtype, name="score")

    def build(self, state_shape, regions_shape):
        self.state_proj.build(state_shape)
        self.region_proj.build(regions_shape)
        self.score.build((*regions_shape[:-1], self.units))

    def project_regions(self, regions):
        """Projects regions for the scoring network: `(batch, regions, units)`."""
        return self.region_proj(regions)

    def call(self, state, regions, keys=None):
        if keys is None:
            keys = self.project_regions(regions)
        return self.look(self.state_proj(state), regions, keys)

    def look(self, query, regions, keys):
        """Does the same as `call` for a state that is already projected.

        An image may have several states, in consecutive rows and the same number for
        each image; its regions are read once for all of them.

        Args:
            query: float tensor `(states, units)`, the result of `state_proj`.
            regions: float tensor `(batch, regions, depth)`.
            keys: float tensor `(batch, regions, units)`.

        Returns:
            context and weights, as the call.
        """
        images, depth = ops.shape(regions)[0], regions.shape[-1]
        query = ops.reshape(query, (images, -1, 1, self.units))
        hidden = ops.tanh(query + ops.expand_dims(keys, axis=1))
        scores = self.score(ops.reshape(hidden, (-1, keys.shape[1], self.units)))
        weights = ops.softmax(scores[..., 0], axis=-1)
        by_image = ops.reshape(weights, (images, -1, keys.shape[1]))
        context = ops.reshape(ops.matmul(by_image, regions), (-1, depth))
        return context, weights

    def get_config(self):
        return {**super().get_config(), "units": self.units}
