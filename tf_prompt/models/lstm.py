"""ResNet50 and an LSTM with additive attention: Kalisz's first model."""

import keras
from keras import ops

from tf_prompt.layers.attention import AdditiveAttention
from tf_prompt.layers.recurrence import DeferredProduct
from tf_prompt.models.captioner import Captioner


@keras.saving.register_keras_serializable(package="tf_prompt")
class LSTMCaptioner(Captioner):
    """Writes a prompt with an LSTM that looks at the image before each word.

    The mean region sets the first state. Before each word the state looks at
    the regions; a sigmoid gate, computed from the state, scales what it saw.

    Args:
        units: int > 0. Width of the LSTM's state.
        attention_units: int > 0. Width of the network that scores regions.
        **kwargs: arguments of `Captioner`, which also documents inputs and outputs.

    Raises:
        ValueError: if a size is not positive.

    Reference: Kalisz, slides "Encoder CNN - Decoder LSTM"; the gate is that of
    Xu et al., 2015, https://arxiv.org/abs/1502.03044, section 4.2.1, with one
    value per channel.
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
        regions = self.read_regions(inputs, training=training)
        (hidden, carry), (regions, keys) = self._first_state(regions)
        by_hidden, bias, by_seen, by_word = self._split_kernels()
        words = ops.moveaxis(self.embedding(inputs["token_ids"]), 1, 0)
        # The part that does not depend on the state: one product for all words.
        bias_of_word = ops.cast(self.cell.bias, self.compute_dtype)
        addends = by_seen.attach(ops.matmul(words, by_word) + bias_of_word)
        biases = by_hidden.attach(ops.zeros_like(words[..., :1]) + bias)

        # Side by side: Keras' TensorFlow scan fails on two inputs of open length.
        rows = ops.concatenate([addends, biases], axis=-1)

        def advance(state, row):
            addend, bias = ops.split(row, [4 * self.units], axis=-1)
            of_hidden = ops.matmul(state[0], by_hidden.frozen) + bias
            state = self._advance_all(
                of_hidden, addend, state[1], regions, keys, by_seen.frozen
            )
            # The scan also requires outputs shaped like the state.
            return state, state

        seen = ops.zeros_like(regions[:, 0])
        _, (outputs, _, seen) = ops.scan(advance, (hidden, carry, seen), rows)
        by_hidden.record(ops.concatenate([hidden[None], outputs[:-1]]))
        by_seen.record(seen)
        outputs = self.dropout(ops.moveaxis(outputs, 0, 1), training=training)
        return self.score_tokens(outputs, inputs, training)

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

    def _split_kernels(self):
        """Groups the kernels of a step by what they multiply.

        Returns:
            Those that multiply the state (query, gate and cell side by side) and their
            biases; the one of the attended regions; the one of the word.
        """
        layers = self.attention.state_proj, self.gate
        kernels = [*(layer.kernel for layer in layers), self.cell.recurrent_kernel]
        # Cast, because on JAX Keras trains by `call`, which does not cast variables.
        of_cell, *kernels = (
            ops.cast(kernel, self.compute_dtype)
            for kernel in (self.cell.kernel, *kernels)
        )
        biases = [ops.cast(layer.bias, self.compute_dtype) for layer in layers]
        # The cell's own bias is added to the words.
        biases.append(ops.zeros(4 * self.units, self.compute_dtype))
        of_word, of_seen = ops.split(of_cell, [self.embedding_dim])
        by_hidden = DeferredProduct(ops.concatenate(kernels, axis=1))
        return by_hidden, ops.concatenate(biases), DeferredProduct(of_seen), of_word

    def _advance_all(self, of_hidden, addend, carry, regions, keys, by_seen):
        """Does what `_advance` does, for products that are already computed."""
        if not self.image_encoder.trainable_weights:
            # Otherwise the loop sums a gradient as large as the regions, unused.
            regions = ops.stop_gradient(regions)
        depth = regions.shape[-1]
        query, gate, of_cell = ops.split(
            of_hidden, [self.attention_units, self.attention_units + depth], axis=1
        )
        context, _ = self.attention.look(query, regions, keys)
        seen = ops.sigmoid(gate) * context
        sums = of_cell + addend + ops.matmul(seen, by_seen)
        into, forget, new, out = ops.split(sums, 4, axis=1)
        carry = ops.sigmoid(forget) * carry + ops.sigmoid(into) * ops.tanh(new)
        return ops.sigmoid(out) * ops.tanh(carry), carry, seen

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "attention_units": self.attention_units,
        }
