"""The base class of captioners: an encoder, and a decoder that can run step by step."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.layers.tied_output import TiedOutput
from tf_prompt.layers.word_loss import word_losses
from tf_prompt.models.encoders import build_encoder, describe_encoder


class Captioner(keras.Model):
    """A model that writes the prompt of an image.

    Training calls the model on images and the true previous tokens. Decoding calls
    `encode` once and `step` for each token, see `Search`.

    Args:
        vocab_size: int > 0, size of the vocabulary, special tokens included.
        image_size: int > 0, side of the images, pixels.
        encoder: an argument of `encoders.describe_encoder`, or its result.
        conv_filters: channels of each convolution of the encoder `conv`.
        train_encoder: whether a pretrained encoder is trained; `conv` always is.
        embedding_dim: int > 0, width of the token embeddings.
        dropout_rate: float in [0, 1).
        label_smoothing: float in [0, 1), see `word_losses`; in training only.
        tie_weights: whether the output layer scores tokens by their embeddings; the
            decoder must then be `embedding_dim` wide.
        max_tokens: int > 0, longest prompt in tokens, the end token included.
        rotation_degrees: see `Augmentation`.
        flip: see `Augmentation`.
        erasing_rate: see `Augmentation`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: dict of `images`, `(batch, image_size, image_size, 3)`, 0-255,
            and `token_ids`, int `(batch, tokens)`, starting with the start token.
            Instead of `images` it may hold `regions`, float `(batch, regions,
            depth)`, an earlier result of `extract_regions`. It may also hold
            `target_ids`, int `(batch, tokens)`, the next tokens.

    Returns:
        logits: float `(batch, tokens, vocab_size)`, scores of the next token at each
            position. With `target_ids` float32 `(batch, tokens, 2)` instead: loss and
            hit of each token, see `word_losses`.
    """

    def __init__(
        self,
        vocab_size,
        image_size,
        encoder,
        conv_filters=(),
        train_encoder=False,
        embedding_dim=512,
        dropout_rate=0.1,
        label_smoothing=0.0,
        tie_weights=False,
        max_tokens=31,
        rotation_degrees=0.0,
        flip=False,
        erasing_rate=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(
            vocab_size=vocab_size, embedding_dim=embedding_dim, max_tokens=max_tokens
        )
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"`label_smoothing` must be in [0, 1). Received: {label_smoothing}"
            )
        self.vocab_size = vocab_size
        self.image_size = image_size
        self.encoder = describe_encoder(encoder, image_size)
        self.conv_filters = tuple(conv_filters)
        self.train_encoder = train_encoder
        self.embedding_dim = embedding_dim
        self.dropout_rate = dropout_rate
        self.label_smoothing = label_smoothing
        self.tie_weights = tie_weights
        self.max_tokens = max_tokens
        self.rotation_degrees = rotation_degrees
        self.flip = flip
        self.erasing_rate = erasing_rate
        self.augmentation = Augmentation(rotation_degrees, flip, erasing_rate)
        self.image_encoder = build_encoder(
            self.encoder, image_size, self.conv_filters, train_encoder
        )
        self.embedding = keras.layers.Embedding(
            vocab_size, embedding_dim, name="embedding"
        )
        self.dropout = keras.layers.Dropout(dropout_rate, name="dropout")
        if tie_weights:
            self.output_proj = TiedOutput(self.embedding, name="output_proj")
        else:
            self.output_proj = keras.layers.Dense(vocab_size, name="output_proj")

    def read_regions(self, inputs, training=None):
        """Returns the regions given to a call, or computes them from its images.

        Args:
            inputs: the inputs of the call.
            training: whether images are augmented.

        Returns:
            float `(batch, regions, depth)`.
        """
        if "regions" in inputs:
            return ops.cast(inputs["regions"], self.compute_dtype)
        return self.extract_regions(inputs["images"], training=training)

    def extract_regions(self, images, training=None):
        """Runs augmentation and encoder.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.
            training: whether images are augmented.

        Returns:
            float `(batch, regions, depth)`.
        """
        images = self.augmentation(images, training=training)
        return self.image_encoder(images, training=training)

    def extract_features(self, images, training=None):
        """Computes the mean region, `(batch, depth)`, for nearest neighbours."""
        return ops.mean(self.extract_regions(images, training=training), axis=1)

    def score_tokens(self, hidden, inputs, training=None):
        """Computes the result of a call from the decoder's hidden states.

        Args:
            hidden: float `(batch, tokens, width)`.
            inputs: the inputs of the call.
            training: whether labels are smoothed.

        Returns:
            Logits, or losses and hits, as the call.
        """
        if "target_ids" not in inputs:
            return self.output_proj(hidden)
        output, target_ids = self.output_proj, inputs["target_ids"]
        smoothing = self.label_smoothing if training else 0.0
        found = word_losses(
            hidden, output.kernel, output.bias, target_ids, label_smoothing=smoothing
        )
        return ops.stack(found, axis=-1)

    def encode(self, images):
        """Starts decoding for a batch of images.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.

        Returns:
            state: tuple of tensors that `step` changes; their first axis is `batch`.
            memory: tuple of tensors that `step` only reads; also `batch` first.
        """
        raise NotImplementedError

    def step(self, token_ids, position, state, memory):
        """Decodes one step for each prompt.

        An image may have several prompts, in consecutive rows and the same number for
        each image; `memory` has one row per image.

        Args:
            token_ids: int `(prompts,)`, the previous tokens.
            position: int tensor, number of tokens read before.
            state: result of `encode` or of the last `step`.
            memory: result of `encode`.

        Returns:
            logits: float `(prompts, vocab_size)`, scores of the next token.
            state: the state for the next step.
        """
        raise NotImplementedError

    def attend(self, images, token_ids):
        """Computes the attention over image regions for each next token.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.
            token_ids: int `(batch, tokens)`, starting with the start token.

        Returns:
            float `(batch, tokens, regions)`, rows sum to 1. The regions are a square
            grid in row-major order.
        """
        raise NotImplementedError

    def get_build_config(self):
        # The constructor has built every layer.
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "image_size": self.image_size,
            "encoder": self.encoder,
            "conv_filters": self.conv_filters,
            "train_encoder": self.train_encoder,
            "embedding_dim": self.embedding_dim,
            "dropout_rate": self.dropout_rate,
            "label_smoothing": self.label_smoothing,
            "tie_weights": self.tie_weights,
            "max_tokens": self.max_tokens,
            "rotation_degrees": self.rotation_degrees,
            "flip": self.flip,
            "erasing_rate": self.erasing_rate,
        }
