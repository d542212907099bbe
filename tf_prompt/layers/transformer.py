"""Pre-norm Transformer blocks whose heads may be narrower than width / heads."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.multi_head_attention import (
    MultiHeadAttention,
    affine,
    flat_dense,
)
from tf_prompt.layers.normalization import LayerNormalization

EPSILON = 1e-5


class _Block(keras.layers.Layer):
    """Shared parts of both blocks: sizes, dropout and feed-forward layers."""

    def __init__(self, width, num_heads, head_dim, hidden_dim, dropout_rate, **kwargs):
        super().__init__(**kwargs)
        check_positive(
            width=width, num_heads=num_heads, head_dim=head_dim, hidden_dim=hidden_dim
        )
        self.width = width
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.hidden_dim = hidden_dim
        self.dropout_rate = dropout_rate
        self.supports_masking = True
        self.feed_forward_norm = self._new_norm("feed_forward_norm")
        self.expand = self._new_dense(hidden_dim, "expand", activation="relu")
        self.contract = self._new_dense(width, "contract")
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy)

    def _new_norm(self, name):
        return LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy, name=name)

    def _new_dense(self, units, name, activation=None):
        return keras.layers.Dense(
            units, activation=activation, dtype=self.dtype_policy, name=name
        )

    def _new_attention(self, name):
        return MultiHeadAttention(
            num_heads=self.num_heads,
            key_dim=self.head_dim,
            dropout=self.dropout_rate,
            dtype=self.dtype_policy,
            name=name,
        )

    def _build_feed_forward(self, shape):
        self.feed_forward_norm.build(shape)
        self.expand.build(shape)
        self.contract.build((*shape[:-1], self.hidden_dim))

    def _feed_forward(self, x, training):
        hidden = self.expand(self.feed_forward_norm(x, training=training))
        return x + self.dropout(self.contract(hidden), training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "hidden_dim": self.hidden_dim,
            "dropout_rate": self.dropout_rate,
        }


@keras.saving.register_keras_serializable(package="tf_prompt")
class EncoderBlock(_Block):
    """Self-attention over the regions of an image, then a feed-forward network.

    Args:
        width: int > 0. Width of the regions, in and out.
        num_heads: int > 0.
        head_dim: int > 0. Width of one head; `width / num_heads` is not required.
        hidden_dim: int > 0. Width inside the feed-forward network.
        dropout_rate: float in [0, 1).
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        regions: float tensor `(batch, regions, width)`.

    Returns:
        float tensor `(batch, regions, width)`.

    Reference: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section
    3.1; normalisation before each part as in Xiong et al., 2020,
    https://arxiv.org/abs/2002.04745.
    """

    def __init__(self, width, num_heads, head_dim, hidden_dim, dropout_rate, **kwargs):
        super().__init__(width, num_heads, head_dim, hidden_dim, dropout_rate, **kwargs)
        self.attention_norm = self._new_norm("attention_norm")
        self.attention = self._new_attention("attention")

    def build(self, regions_shape):
        self.attention_norm.build(regions_shape)
        self.attention.build(regions_shape, regions_shape)
        self._build_feed_forward(regions_shape)

    def call(self, regions, training=None):
        x = self.attention_norm(regions, training=training)
        x = self.attention(x, x, training=training)
        x = regions + self.dropout(x, training=training)
        return self._feed_forward(x, training)


@keras.saving.register_keras_serializable(package="tf_prompt")
class DecoderBlock(_Block):
    """Causal self-attention, cross-attention to the image, a feed-forward network.

    `call` processes whole prompts, for training. `step` processes one more token and
    caches keys and values.

    Args:
        width: int > 0. Width of the tokens, in and out.
        num_heads: int > 0.
        head_dim: int > 0. Width of one head; `width / num_heads` is not required.
        hidden_dim: int > 0. Width inside the feed-forward network.
        dropout_rate: float in [0, 1).
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: float tensor `(batch, tokens, width)`.
        regions: float tensor `(batch, regions, depth)`.

    Returns:
        float tensor `(batch, tokens, width)`.

    Reference: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section
    3.1; normalisation before each part as in Xiong et al., 2020,
    https://arxiv.org/abs/2002.04745.
    """

    def __init__(self, width, num_heads, head_dim, hidden_dim, dropout_rate, **kwargs):
        super().__init__(width, num_heads, head_dim, hidden_dim, dropout_rate, **kwargs)
        self.attention_norm = self._new_norm("attention_norm")
        self.attention = self._new_attention("attention")
        self.cross_attention_norm = self._new_norm("cross_attention_norm")
        self.cross_attention = self._new_attention("cross_attention")

    def build(self, tokens_shape, regions_shape):
        self.attention_norm.build(tokens_shape)
        self.attention.build(tokens_shape, tokens_shape)
        self.cross_attention_norm.build(tokens_shape)
        self.cross_attention.build(tokens_shape, regions_shape)
        self._build_feed_forward(tokens_shape)

    def call(self, tokens, regions, training=None):
        tokens = self._look_back(tokens, training)
        x = self.cross_attention_norm(tokens, training=training)
        x = self.cross_attention(x, regions, training=training)
        tokens = tokens + self.dropout(x, training=training)
        return self._feed_forward(tokens, training)

    def attend(self, tokens, regions):
        """Runs the block like `call`, and returns its attention to the regions.

        Args:
            tokens: float tensor `(batch, tokens, width)`, as for `call`.
            regions: float tensor `(batch, regions, depth)`.

        Returns:
            The block's output `(batch, tokens, width)`, and a float tensor
            `(batch, tokens, regions)`: weights of the cross-attention, the mean
            over heads; each row sums to 1.
        """
        tokens = self._look_back(tokens, training=False)
        x = self.cross_attention_norm(tokens)
        x, weights = self.cross_attention(
            x, regions, return_attention_scores=True, training=False
        )
        tokens = self._feed_forward(tokens + x, training=False)
        return tokens, ops.mean(weights, axis=1)

    def project_regions(self, regions):
        """Computes the image's keys and values, once per image.

        Args:
            regions: float tensor `(batch, regions, depth)`.

        Returns:
            keys and values, float tensors `(batch, num_heads, regions, head_dim)`.
        """
        attention = self.cross_attention
        projections = attention.key_dense, attention.value_dense
        # Heads before regions: each step then multiplies without transposing.
        return tuple(ops.swapaxes(project(regions), 1, 2) for project in projections)

    def empty_cache(self, batch, max_tokens, dtype):
        """Returns keys and values without tokens, for the first `step`.

        Args:
            batch: int or scalar int tensor.
            max_tokens: int > 0. Maximum number of tokens.
            dtype: dtype of the tokens.

        Returns:
            Two float tensors `(batch, num_heads, max_tokens, head_dim)`.
        """
        shape = (batch, self.num_heads, max_tokens, self.head_dim)
        return ops.zeros(shape, dtype), ops.zeros(shape, dtype)

    def step(self, token, position, cache, region_cache):
        """Runs the block on one token, given the cached keys of earlier tokens.

        Args:
            token: float tensor `(prompts, width)`; the prompts of an image are in
                consecutive rows, the same number for each image.
            position: int tensor, index of the token in its prompt, from 0.
            cache: the result of `empty_cache`, or of the previous step.
            region_cache: the result of `project_regions`, one row per image.

        Returns:
            The block's output `(prompts, width)`, and `cache` with this token.
        """
        x = self.attention_norm(token)
        attention = self.attention
        keys = _put(flat_dense(attention.key_dense, x), position, cache[0])
        values = _put(flat_dense(attention.value_dense, x), position, cache[1])
        seen = ops.arange(ops.shape(keys)[2]) <= position
        token = token + self._look_once(attention, x, keys, values, seen)
        x = self.cross_attention_norm(token)
        token = token + self._look_once(self.cross_attention, x, *region_cache)
        return self._feed_forward(token, training=False), (keys, values)

    def _look_once(self, attention, x, keys, values, seen=None):
        """Attention of one token per row; equals the layer's call, but faster.

        The layer's own einsums are meant for whole prompts: for one token they would
        transpose all keys and values in every step.
        """
        query = flat_dense(attention.query_dense, x) * self.head_dim**-0.5
        # Prompts of one image side by side, so that its keys are read only once.
        heads = (ops.shape(keys)[0], -1, self.num_heads, self.head_dim)
        query = ops.transpose(ops.reshape(query, heads), (0, 2, 3, 1))
        scores = ops.swapaxes(ops.matmul(keys, query), 2, 3)
        if seen is not None:
            scores = ops.where(seen, scores, float("-inf"))
        found = ops.swapaxes(ops.matmul(ops.softmax(scores), values), 1, 2)
        found = ops.reshape(found, (-1, self._inner_width))
        output = attention.output_dense
        kernel = ops.reshape(output.kernel, (self._inner_width, self.width))
        return affine(found, kernel, output.bias)

    @property
    def _inner_width(self):
        return self.num_heads * self.head_dim

    def _look_back(self, tokens, training):
        """Causal self-attention with its residual connection."""
        x = self.attention_norm(tokens, training=training)
        x = self.attention(x, x, attention_mask=_causal_mask(x), training=training)
        return tokens + self.dropout(x, training=training)


def _put(x, position, cache):
    """Writes one token's keys `(batch, heads * head_dim)` into a cache."""
    num_heads, max_tokens, head_dim = cache.shape[1:]
    # Not slice_update, an XLA operation that TF Serving lacks; not where, which would
    # copy the whole cache.
    rows = ops.arange(ops.shape(x)[0] * num_heads)
    index = ops.stack([rows, ops.zeros_like(rows) + position], axis=1)
    flat = ops.reshape(cache, (-1, max_tokens, head_dim))
    flat = ops.scatter_update(flat, index, ops.reshape(x, (-1, head_dim)))
    return ops.reshape(flat, (-1, num_heads, max_tokens, head_dim))


def _causal_mask(tokens):
    positions = ops.arange(ops.shape(tokens)[1])
    return (positions[:, None] >= positions[None, :])[None]
