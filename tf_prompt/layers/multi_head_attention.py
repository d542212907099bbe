"""Multi-head attention whose projections are products of two matrices."""

import keras_hub
from keras import ops

_NEVER = -1e9


class MultiHeadAttention(keras_hub.layers.CachedMultiHeadAttention):
    """KerasHub's attention, computed faster in training.

    Its einsums multiply a stack of small matrices; their backward pass writes a
    gradient of each kernel for each image before it sums them. Weights are those of
    KerasHub's layer, and outputs are equal up to rounding.

    Args:
        **kwargs: passed to `keras_hub.layers.CachedMultiHeadAttention`.

    Call arguments:
        query: float tensor `(batch, tokens, width)`.
        value: float tensor `(batch, others, depth)`.
        attention_mask: bool tensor `(1, tokens, others)`, False hides; or None.
        return_attention_scores: whether to return the weights too.
        training: whether weights are dropped at random.

    Returns:
        float tensor `(batch, tokens, width)`; if wanted also the weights, float tensor
        `(batch, num_heads, tokens, others)`.
    """

    def call(
        self,
        query,
        value,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
    ):
        if not training:
            return super().call(
                query,
                value,
                attention_mask=attention_mask,
                return_attention_scores=return_attention_scores,
                training=training,
            )
        queries = self._project(self.query_dense, query)
        keys = self._project(self.key_dense, value)
        values = self._project(self.value_dense, value)
        queries = queries * self.key_dim**-0.5
        # In half precision too, softmax adds up in float32.
        scores = ops.cast(ops.matmul(queries, ops.swapaxes(keys, 2, 3)), "float32")
        if attention_mask is not None:
            scores = ops.where(attention_mask, scores, _NEVER)
        kept = weights = ops.cast(ops.softmax(scores), values.dtype)
        if self.dropout:
            kept = self._dropout_layer(weights, training=training)
        found = ops.swapaxes(ops.matmul(kept, values), 1, 2)
        output = self.output_dense
        inner = self.num_heads * self.key_dim
        found = ops.reshape(found, (-1, ops.shape(query)[1], inner))
        kernel = ops.reshape(output.kernel, (inner, output.kernel.shape[-1]))
        found = affine(found, kernel, output.bias)
        return (found, weights) if return_attention_scores else found

    def _project(self, projection, x):
        """Queries, keys or values, `(batch, num_heads, tokens, key_dim)`."""
        shape = -1, ops.shape(x)[1], self.num_heads, self.key_dim
        return ops.swapaxes(ops.reshape(flat_dense(projection, x), shape), 1, 2)


def flat_dense(projection, x):
    """A projection to heads as one product of matrices.

    Args:
        projection: `EinsumDense` to heads.
        x: float tensor `(…, depth)`.

    Returns:
        float tensor `(…, num_heads * key_dim)`.
    """
    kernel = ops.reshape(projection.kernel, (projection.kernel.shape[0], -1))
    return affine(x, kernel, ops.reshape(projection.bias, (-1,)))


def affine(x, kernel, bias):
    """A dense layer in the dtype of `x`, `(…, depth)`: `(…, width)`."""
    product = ops.matmul(x, ops.cast(kernel, x.dtype))
    return product + ops.cast(bias, x.dtype)
