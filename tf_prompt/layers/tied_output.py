"""An output layer that scores tokens by their embeddings."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tf_prompt")
class TiedOutput(keras.layers.Layer):
    """Scores each token by the inner product of its embedding with a hidden state.

    Args:
        embedding: the `keras.layers.Embedding` whose weights are shared.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        hidden: float `(…, output_dim)`, as wide as an embedding.

    Returns:
        float `(…, input_dim)`, scores of the tokens.

    Raises:
        ValueError: if the hidden state has another width.

    Reference: Press and Wolf, 2016, https://arxiv.org/abs/1608.05859.
    """

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding

    def build(self, hidden_shape):
        width = self.embedding.output_dim
        if hidden_shape[-1] != width:
            raise ValueError(
                "`tie_weights` needs a decoder as wide as the embeddings. "
                f"Received: {hidden_shape[-1]} and embedding_dim={width}"
            )
        if not self.embedding.built:
            self.embedding.build()
        self.bias = self.add_weight((self.embedding.input_dim,), "zeros", name="bias")
        self.built = True

    @property
    def kernel(self):
        """The weights in the layout of a dense layer, `(width, tokens)`."""
        return ops.transpose(self.embedding.embeddings)

    def call(self, hidden):
        kernel = ops.cast(self.kernel, hidden.dtype)
        return ops.matmul(hidden, kernel) + ops.cast(self.bias, hidden.dtype)

    def get_config(self):
        embedding = keras.saving.serialize_keras_object(self.embedding)
        return {**super().get_config(), "embedding": embedding}

    @classmethod
    def from_config(cls, config):
        embedding = keras.saving.deserialize_keras_object(config["embedding"])
        return cls(**{**config, "embedding": embedding})
