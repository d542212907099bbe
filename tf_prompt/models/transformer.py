"""ResNet50 and a Transformer: Kalisz's second model."""

import keras
import keras_hub
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.normalization import LayerNormalization
from tf_prompt.layers.transformer import EPSILON, DecoderBlock, EncoderBlock
from tf_prompt.models.captioner import Captioner


@keras.saving.register_keras_serializable(package="tf_prompt")
class TransformerCaptioner(Captioner):
    """Writes a prompt with a Transformer that reads the regions of an image.

    Args:
        num_encoder_layers: int >= 0. Number of blocks over the regions, of their width.
        num_decoder_layers: int > 0. Number of blocks over tokens, `embedding_dim` wide.
        num_heads: int > 0. Number of heads in each attention.
        head_dim: int > 0. Width of one head.
        encoder_hidden_dim: int > 0. Feed-forward width in the encoder.
        decoder_hidden_dim: int > 0. Feed-forward width in the decoder.
        **kwargs: arguments of `Captioner`, which also documents inputs and outputs.

    Raises:
        ValueError: if a size is not positive.

    Reference: Kalisz, slides "Model based on Transformer"; Vaswani et al., 2017,
    https://arxiv.org/abs/1706.03762.
    """

    def __init__(
        self,
        num_encoder_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        head_dim=16,
        encoder_hidden_dim=8192,
        decoder_hidden_dim=2048,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(num_decoder_layers=num_decoder_layers)
        self.num_encoder_layers = num_encoder_layers
        self.num_decoder_layers = num_decoder_layers
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.encoder_hidden_dim = encoder_hidden_dim
        self.decoder_hidden_dim = decoder_hidden_dim
        depth = self.image_encoder.output_shape[-1]
        self.positions = keras_hub.layers.SinePositionEncoding(name="positions")
        self.encoder_blocks = [
            EncoderBlock(
                depth, num_heads, head_dim, encoder_hidden_dim, self.dropout_rate
            )
            for _ in range(num_encoder_layers)
        ]
        self.encoder_norm = LayerNormalization(epsilon=EPSILON)
        self.decoder_blocks = [
            DecoderBlock(
                self.embedding_dim,
                num_heads,
                head_dim,
                decoder_hidden_dim,
                self.dropout_rate,
            )
            for _ in range(num_decoder_layers)
        ]
        self.decoder_norm = LayerNormalization(epsilon=EPSILON)
        self.build()

    def build(self, input_shape=None):
        regions_shape = self.image_encoder.output_shape
        tokens_shape = (None, None, self.embedding_dim)
        for block in self.encoder_blocks:
            block.build(regions_shape)
        self.encoder_norm.build(regions_shape)
        self.embedding.build((None, None))
        for block in self.decoder_blocks:
            block.build(tokens_shape, regions_shape)
        self.decoder_norm.build(tokens_shape)
        self.output_proj.build(tokens_shape)
        # Constants, because LiteRT's converter cannot convert their computation.
        self._region_positions = self._tabulate(*regions_shape[1:])
        self._token_positions = self._tabulate(self.max_tokens, self.embedding_dim)
        self.built = True

    def call(self, inputs, training=None):
        regions = self.read_regions(inputs, training=training)
        hidden = self._decode(inputs["token_ids"], regions, training)
        return self.score_tokens(hidden, inputs, training)

    def encode(self, images):
        return self._start(self._read_image(images, training=False))

    def step(self, token_ids, position, state, memory):
        hidden, state = self._advance(token_ids, position, state, memory)
        return self.output_proj(hidden), state

    def _decode(self, token_ids, regions, training):
        """Hidden states of whole prompts, from the encoder's regions."""
        regions = self._encode_regions(regions, training)
        tokens = self.dropout(self._embed(token_ids), training=training)
        for block in self.decoder_blocks:
            tokens = block(tokens, regions, training=training)
        return self.decoder_norm(tokens, training=training)

    def _start(self, regions):
        """State and memory of decoding, from the encoded regions."""
        batch = ops.shape(regions)[0]
        caches = tuple(
            block.empty_cache(batch, self.max_tokens, regions.dtype)
            for block in self.decoder_blocks
        )
        return caches, tuple(b.project_regions(regions) for b in self.decoder_blocks)

    def _advance(self, token_ids, position, state, memory):
        """Hidden states `(prompts, embedding_dim)` of one more token, and the state."""
        token = self._scale(self.embedding(token_ids))
        token = token + ops.cast(self._token_positions, token.dtype)[position]
        updated = []
        for block, cache, regions in zip(
            self.decoder_blocks, state, memory, strict=True
        ):
            token, cache = block.step(token, position, cache, regions)
            updated.append(cache)
        return self.decoder_norm(token), tuple(updated)

    def attend(self, images, token_ids):
        regions = self._read_image(images, training=False)
        tokens = self._embed(token_ids)
        weights = []
        for block in self.decoder_blocks:
            tokens, of_block = block.attend(tokens, regions)
            weights.append(of_block)
        return ops.mean(ops.stack(weights), axis=0)

    def _read_image(self, images, training):
        regions = self.extract_regions(images, training=training)
        return self._encode_regions(regions, training)

    def _encode_regions(self, regions, training):
        regions = regions + ops.cast(self._region_positions, regions.dtype)
        regions = self.dropout(regions, training=training)
        for block in self.encoder_blocks:
            regions = block(regions, training=training)
        return self.encoder_norm(regions, training=training)

    def _embed(self, token_ids):
        tokens = self._scale(self.embedding(token_ids))
        return tokens + self.positions(tokens)

    def _scale(self, embedded):
        # Keras draws embeddings near zero; unscaled, positions would drown them.
        return embedded * self.embedding_dim**0.5

    def _tabulate(self, length, width):
        """The encoding of every position, float array `(length, width)`."""
        return ops.convert_to_numpy(self.positions(ops.zeros((1, length, width))))[0]

    def get_config(self):
        return {
            **super().get_config(),
            "num_encoder_layers": self.num_encoder_layers,
            "num_decoder_layers": self.num_decoder_layers,
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "encoder_hidden_dim": self.encoder_hidden_dim,
            "decoder_hidden_dim": self.decoder_hidden_dim,
        }
