"""ResNet50 and an LSTM with additive attention: Kalisz's first model."""

import keras
from keras import ops

from tf_prompt.layers.attention import AdditiveAttention
from tf_prompt.models.captioner import Captioner


@keras.saving.register_keras_serializable(package="tf_prompt")
class LSTMCaptioner(Captioner):
    """Writes a prompt with an LSTM that looks at the image before each word.

    The mean region sets the first state. Before each word the state looks at
    the regions; a sigmoid gate, computed from the state, scales what it saw.

    Args:
        units: int > 0. Width of the LSTM's state.
        attention_units: int > 0. Width of the network that scores regions.
        **kwargs: arguments of `Captioner`, which also tells inputs and outputs.

    Raises:
        ValueError: if a size is not positive.

    Reference: Kalisz, slides "Encoder CNN - Decoder LSTM"; the gate is that of
    Xu et al., 2015, https://arxiv.org/abs/1502.03044, section 4.2.1, with one
    value a channel.
    """

    def __init__(self, units=512, attention_units=256, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.attention_units = attention_units
        depth = self.image_encoder.output_shape[-1]
        self.attention = AdditiveAttention(attention_units, name="attention")
        self.initial_hidden = keras.layers.Dense(units, name="initial_hidden")
        self.initial_carry = keras.layers.Dense(units, name="initial_carry")
        self.gate = keras.layers.Dense(depth, activation="sigmoid", name="gate")
        self.cell = keras.layers.LSTMCell(units, name="cell")
        self.build()

    def build(self, input_shape=None):
        num_regions, depth = self.image_encoder.output_shape[1:]
        self.embedding.build((None, None))
        self.attention.build((None, self.units), (None, num_regions, depth))
        self.initial_hidden.build((None, depth))
        self.initial_carry.build((None, depth))
        self.gate.build((None, self.units))
        self.cell.build((None, self.embedding_dim + depth))
        self.output_proj.build((None, self.units))
        self.built = True

    def call(self, inputs, training=None):
        regions = self.extract_regions(inputs["images"], training=training)
        state, (regions, keys) = self._first_state(regions)
        words = ops.moveaxis(self.embedding(inputs["token_ids"]), 1, 0)

        def advance(state, word):
            state, _ = self._advance(word, *state, regions, keys)
            # Keras' TensorFlow scan wants outputs shaped like the state.
            return state, state

        _, (outputs, _) = ops.scan(advance, state, words)
        outputs = self.dropout(ops.moveaxis(outputs, 0, 1), training=training)
        return self.output_proj(outputs)

    def encode(self, images):
        return self._first_state(self.extract_regions(images, training=False))

    def step(self, token_ids, position, state, memory):
        word = self.embedding(token_ids)
        state, _ = self._advance(word, *state, *memory)
        return self.output_proj(state[0]), state

    def attend(self, images, token_ids):
        state, memory = self.encode(images)
        words = self.embedding(token_ids)
        weights = []
        for position in range(token_ids.shape[1]):
            state, seen = self._advance(words[:, position], *state, *memory)
            weights.append(seen)
        return ops.stack(weights, axis=1)

    def _first_state(self, regions):
        mean = ops.mean(regions, axis=1)
        keys = self.attention.project_regions(regions)
        state = self.initial_hidden(mean), self.initial_carry(mean)
        return state, (regions, keys)

    def _advance(self, word, hidden, carry, regions, keys):
        context, weights = self.attention(hidden, regions, keys)
        seen = self.gate(hidden) * context
        inputs = ops.concatenate([word, seen], axis=-1)
        _, (hidden, carry) = self.cell(inputs, (hidden, carry))
        return (hidden, carry), weights

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "attention_units": self.attention_units,
        }
