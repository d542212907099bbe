"""What every captioner is: an encoder, and a decoder that can go word by word."""

import keras
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.layers.word_loss import word_losses
from tf_prompt.models.encoders import build_encoder, describe_encoder


class Captioner(keras.Model):
    """A model that writes the prompt of an image.

    Training calls the model on images and the true words before each word.
    Writing calls `encode` once and `step` for each word, see `Search`.

    Args:
        vocab_size: int > 0. Entries of the vocabulary, special tokens included.
        image_size: int > 0. Pixels a side.
        encoder: what `encoders.describe_encoder` takes, or what it returned.
        conv_filters: channels of each convolution of the encoder `conv`.
        train_encoder: whether a pretrained encoder learns; `conv` always does.
        embedding_dim: int > 0. Width of a token's embedding.
        dropout_rate: float in [0, 1).
        max_tokens: int > 0. Longest prompt in tokens, the end token included.
        rotation_degrees: see `Augmentation`.
        flip: see `Augmentation`.
        erasing_rate: see `Augmentation`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: dict of `images`, `(batch, image_size, image_size, 3)`, 0-255,
            and `token_ids`, int `(batch, tokens)`, beginning with the start token.
            In place of `images` it may hold `regions`, float `(batch, regions,
            depth)`, which `extract_regions` gave before. It may also hold
            `target_ids`, int `(batch, tokens)`, the words that follow.

    Returns:
        logits: float `(batch, tokens, vocab_size)`; the scores at a position are
        those of the word that follows it. With `target_ids` float32 `(batch,
        tokens, 2)` instead: loss and hit of each word, see `word_losses`.
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
        self.vocab_size = vocab_size
        self.image_size = image_size
        self.encoder = describe_encoder(encoder, image_size)
        self.conv_filters = tuple(conv_filters)
        self.train_encoder = train_encoder
        self.embedding_dim = embedding_dim
        self.dropout_rate = dropout_rate
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
        self.output_proj = keras.layers.Dense(vocab_size, name="output_proj")

    def read_regions(self, inputs, training=None):
        """Takes `regions` out of the inputs of a call, or computes them."""
        if "regions" in inputs:
            return ops.cast(inputs["regions"], self.compute_dtype)
        return self.extract_regions(inputs["images"], training=training)

    def extract_regions(self, images, training=None):
        """Runs augmentation and encoder: `(batch, regions, depth)`."""
        images = self.augmentation(images, training=training)
        return self.image_encoder(images, training=training)

    def extract_features(self, images, training=None):
        """Gives the mean region, `(batch, depth)`: like pictures are near in it."""
        return ops.mean(self.extract_regions(images, training=training), axis=1)

    def say(self, hidden, inputs):
        """Makes the result of a call from what the decoder knows at each position.

        Args:
            hidden: float `(batch, tokens, width)`.
            inputs: of the call.

        Returns:
            As the call.
        """
        if "target_ids" not in inputs:
            return self.output_proj(hidden)
        output, target_ids = self.output_proj, inputs["target_ids"]
        found = word_losses(hidden, output.kernel, output.bias, target_ids)
        return ops.stack(found, axis=-1)

    def encode(self, images):
        """Begins prompts for a batch of images.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.

        Returns:
            state: what `step` changes, and memory: what it only reads; tuples of
            tensors whose first axis is `batch`.
        """
        raise NotImplementedError

    def step(self, token_ids, position, state, memory):
        """Reads one more token of each prompt.

        An image may have several prompts, the same number each, one after another;
        `memory` holds it once.

        Args:
            token_ids: int `(prompts,)`.
            position: int tensor, how many tokens were read before.
            state: what `encode` or the last `step` returned.
            memory: what `encode` returned.

        Returns:
            logits: float `(prompts, vocab_size)`, scores of the next token.
            state: the state for the next step.
        """
        raise NotImplementedError

    def attend(self, images, token_ids):
        """Tells which regions of an image each next token was written from.

        Args:
            images: `(batch, image_size, image_size, 3)`, 0-255.
            token_ids: int `(batch, tokens)`, beginning with the start token.

        Returns:
            float `(batch, tokens, regions)`, each row summing to 1. The regions are
            a square grid, row by row.
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
            "max_tokens": self.max_tokens,
            "rotation_degrees": self.rotation_degrees,
            "flip": self.flip,
            "erasing_rate": self.erasing_rate,
        }
