"""A captioner that reads the prompts of similar training images."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.reading import PromptReader
from tf_prompt.models.frozen_encoder import to_unit
from tf_prompt.models.transformer import TransformerCaptioner

# A token that stands for no word.
_PAD = 0


@keras.saving.register_keras_serializable(package="tf_prompt")
class ReadingCaptioner(TransformerCaptioner):
    """Writes a prompt while reading the prompts of the nearest training images.

    The decoder attends to their words after its last block, and mixes its own
    distribution of the next word with that of copying one. The index of training
    images is part of the weights and of an export, as float16 features.

    Args:
        index_size: int > 0, number of training images.
        num_prompts: int > 0, prompts read for each image.
        **kwargs: arguments of `TransformerCaptioner`.

    Call arguments:
        inputs: see `Captioner`. If it also holds `families`, int `(batch,)`, training
            images of the same family are hidden, including the image itself.

    Returns:
        See `Captioner`, but with log-probabilities instead of logits; hits are those
        of the model's own words, without copies.

    Raises:
        ValueError: for a size that is not positive, or label smoothing.
    """

    def __init__(self, index_size, num_prompts=8, **kwargs):
        check_positive(index_size=index_size, num_prompts=num_prompts)
        # Set first, because the parent's constructor ends by building everything.
        self.index_size = index_size
        self.num_prompts = num_prompts
        super().__init__(**kwargs)
        if self.label_smoothing:
            raise ValueError(
                "`label_smoothing` must be 0 where words are copied. "
                f"Received: {self.label_smoothing}"
            )

    def build(self, input_shape=None):
        depth = self.image_encoder.output_shape[-1]
        self.index_features = self._add_index("features", (depth,), "float16")
        self.index_ids = self._add_index("ids", (self.max_tokens,), "int32")
        self.index_families = self._add_index("families", (), "int32")
        self.reader = PromptReader(self.embedding_dim, name="reader")
        self.reader.build((None, None, self.embedding_dim))
        super().build(input_shape)

    def _add_index(self, name, shape, dtype):
        return self.add_weight(
            (self.index_size, *shape),
            "zeros",
            dtype=dtype,
            trainable=False,
            autocast=False,
            name=f"index_{name}",
        )

    def fill_index(self, features, token_ids, families) -> None:
        """Fills the index with the training images.

        Args:
            features: float `(index_size, depth)`, mean regions.
            token_ids: int `(index_size, max_tokens)`, their prompts, each with its end
                token, padded with 0.
            families: int `(index_size,)`, number of the family of each.
        """
        features = to_unit(ops.cast(features, "float32"))
        self.index_features.assign(ops.cast(features, "float16"))
        self.index_ids.assign(token_ids)
        self.index_families.assign(families)

    def call(self, inputs, training=None):
        regions = self.read_regions(inputs, training=training)
        memory, ids = self._find(regions, inputs.get("families"))
        tokens = self._decode(inputs["token_ids"], regions, training)
        hidden, weights, gate = self.reader(tokens, memory)
        if "target_ids" not in inputs:
            return self._mix(self.output_proj(hidden), weights, gate, ids)
        targets = inputs["target_ids"]
        found = self.score_tokens(hidden, inputs, training)
        same = ops.cast(ids[:, None] == targets[..., None], "float32")
        copied = ops.log(ops.sum(weights * same, axis=-1) + 1e-9)
        own = ops.log_sigmoid(-gate) - found[..., 0]
        losses = -ops.logaddexp(own, ops.log_sigmoid(gate) + copied)
        return ops.stack([losses, found[..., 1]], axis=-1)

    def encode(self, images):
        regions = self.extract_regions(images, training=False)
        state, memory = self._start(self._encode_regions(regions, training=False))
        found, ids = self._find(regions)
        return state, (*memory, *found, ids)

    def step(self, token_ids, position, state, memory):
        *memory, keys, values, addends, ids = memory
        hidden, state = self._advance(token_ids, position, state, memory)
        # Prompts of one image together, as if they were tokens of one prompt.
        beside = ops.reshape(hidden, (ops.shape(keys)[0], -1, self.embedding_dim))
        found, weights, gate = self.reader(beside, (keys, values, addends))
        logits = self._mix(self.output_proj(found), weights, gate, ids)
        return ops.reshape(logits, (-1, self.vocab_size)), state

    def _find(self, regions, families=None):
        """Finds prompts to read: the reader's memory, and ids `(batch, places)`."""
        features = to_unit(ops.mean(ops.cast(regions, "float32"), axis=1))
        # No gradient: the index holds the features of this encoder only.
        features = ops.stop_gradient(features)
        rows = ops.cast(self.index_features, "float32")
        similarity = ops.matmul(features, ops.transpose(rows))
        if families is not None:
            own = ops.cast(families, "int32")[:, None] == self.index_families
            similarity = ops.where(own, -2.0, similarity)
        count = min(self.num_prompts, self.index_size)
        similarity, found = ops.top_k(similarity, count)
        ids = ops.take(self.index_ids, found, axis=0)
        words = self._scale(self.embedding(ids))
        mask = (ids != _PAD) & (similarity > -1.5)[..., None]
        memory = self.reader.read(words, mask, similarity)
        return memory, ops.reshape(ids, (ops.shape(ids)[0], -1))

    def _mix(self, logits, weights, gate, ids):
        """Log-probabilities of the next token, written or copied.

        Args:
            logits: float `(batch, tokens, vocab_size)`.
            weights: float32 `(batch, tokens, places)`.
            gate: float32 `(batch, tokens)`.
            ids: int `(batch, places)`.
        """
        batch, tokens = ops.shape(weights)[0], ops.shape(weights)[1]
        first = ops.reshape(ops.arange(batch * tokens), (batch, tokens, 1))
        flat = ops.reshape(first * self.vocab_size + ids[:, None], (-1,))
        copied = ops.segment_sum(
            ops.reshape(weights, (-1,)), flat, batch * tokens * self.vocab_size
        )
        copied = ops.reshape(copied, (batch, tokens, self.vocab_size))
        own = ops.softmax(ops.cast(logits, "float32"), axis=-1)
        share = ops.sigmoid(gate)[..., None]
        return ops.log((1 - share) * own + share * copied + 1e-9)

    def get_config(self):
        return {
            **super().get_config(),
            "index_size": self.index_size,
            "num_prompts": self.num_prompts,
        }
