"""A decoder's second source: prompts to read, whose words it may copy."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive

# Not -inf: a row of it alone would give NaN, and float16 holds this.
_NEVER = -1e4


@keras.saving.register_keras_serializable(package="tf_prompt")
class PromptReader(keras.layers.Layer):
    """Attention over the words of retrieved prompts, with a gate for copying them.

    The key of each word also encodes the word before it, so the decoder can find
    the words that follow the ones it has just written. Prompts of more similar images
    get larger weights.

    Args:
        width: int > 0, width of hidden states and of embedded words.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        hidden: float `(batch, tokens, width)`, the decoder's hidden states.
        memory: result of `read`.

    Returns:
        hidden: float `(batch, tokens, width)`, the input plus the output of attention.
        weights: float32 `(batch, tokens, places)`, attention weights; `places` is the
            number of words of all prompts, padding included. Rows sum to 1.
        gate: float32 `(batch, tokens)`, logit of the probability of copying a word.

    Reference: See et al., 2017, https://arxiv.org/abs/1704.04368, equations 8 and 9.
    """

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        check_positive(width=width)
        self.width = width
        dtype = self.dtype_policy
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=dtype)
        self.query_proj = keras.layers.Dense(width, dtype=dtype)
        self.key_proj = keras.layers.Dense(width, dtype=dtype)
        self.value_proj = keras.layers.Dense(width, dtype=dtype)
        self.output_proj = keras.layers.Dense(width, dtype=dtype)
        # Copies little at first, so that the decoder also learns to write words itself.
        self.gate_proj = keras.layers.Dense(
            1, bias_initializer=keras.initializers.Constant(-1.0), dtype=dtype
        )

    def build(self, hidden_shape):
        self.norm.build(hidden_shape)
        for layer in (self.query_proj, self.value_proj, self.output_proj):
            layer.build((None, None, self.width))
        for layer in (self.key_proj, self.gate_proj):
            layer.build((None, None, 2 * self.width))
        self.sharpness = self.add_weight(
            (), keras.initializers.Constant(10.0), name="sharpness"
        )
        self.built = True

    def read(self, words, mask, similarity):
        """Computes the keys and values of retrieved prompts, once per image.

        Args:
            words: float `(batch, prompts, length, width)`, embedded.
            mask: bool `(batch, prompts, length)`, True for words.
            similarity: float `(batch, prompts)`, of the image to each prompt's image.

        Returns:
            keys and values, float `(batch, places, width)`, and float32 `(batch,
            places)`, added to the attention logits; `places` is `prompts * length`.
        """
        before = ops.pad(words, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1]
        places = (ops.shape(words)[0], -1, self.width)
        keys = self.key_proj(ops.concatenate([before, words], axis=-1))
        sharpness = ops.cast(self.sharpness, "float32")
        addends = sharpness * ops.cast(similarity, "float32")[..., None]
        addends = ops.where(mask, addends, _NEVER)
        return (
            ops.reshape(keys, places),
            ops.reshape(self.value_proj(words), places),
            ops.reshape(addends, places[:2]),
        )

    def call(self, hidden, memory):
        keys, values, addends = memory
        query = self.query_proj(self.norm(hidden)) * self.width**-0.5
        scores = ops.cast(ops.einsum("btd,bpd->btp", query, keys), "float32")
        # Keras casts inputs: in float16 places without a word are at -inf.
        addends = ops.maximum(ops.cast(addends, "float32"), _NEVER)
        weights = ops.softmax(scores + addends[:, None], axis=-1)
        found = ops.einsum("btp,bpd->btd", ops.cast(weights, values.dtype), values)
        gate = self.gate_proj(ops.concatenate([hidden, found], axis=-1))[..., 0]
        return hidden + self.output_proj(found), weights, ops.cast(gate, "float32")

    def get_config(self):
        return {**super().get_config(), "width": self.width}
