"""Converts token ids to prompts inside a graph."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.data.text import SPECIAL_TOKENS
from tf_prompt.data.vocabulary import Vocabulary
from tf_prompt.inference.graph_embedder import PartEmbedder, TextEmbedder
from tf_prompt.metrics.prompt_embedder import PromptEmbedder


class PromptTokens(tf.Module):
    """Converts a captioner's token ids to prompts and their embeddings.

    Args:
        vocabulary: the captioner's vocabulary.
        embedder: from `prompt_embedder.load_embedder`; None embeds nothing.

    Attributes:
        vocabulary: as given.
        embeds: whether prompts can be embedded.
        embeds_in_graph: whether they can be embedded inside a graph. That works for
            words, whose MiniLM tokens are in a table; subwords need a tokenizer.
    """

    def __init__(self, vocabulary: Vocabulary, embedder: PromptEmbedder | None = None):
        super().__init__()
        self.vocabulary = vocabulary
        self._pieces = tf.constant(vocabulary.pieces)
        self.embeds = embedder is not None
        self.embeds_in_graph = self.embeds and not vocabulary.is_raw
        if self.embeds_in_graph:
            self._embedder = PartEmbedder(vocabulary.tokens, embedder)
        elif self.embeds:
            self._embedder = TextEmbedder(embedder)

    def join(self, token_ids):
        """Joins tokens to prompts: ids `(…, tokens)` to UTF-8 strings `(…)`."""
        flat = tf.reshape(token_ids, (-1, token_ids.shape[-1]))
        pieces = tf.ragged.boolean_mask(tf.gather(self._pieces, flat), is_text(flat))
        prompts = tf.strings.reduce_join(
            pieces, axis=-1, separator=self.vocabulary.separator
        )
        if self.vocabulary.is_raw:
            # A prompt that was cut may end inside a character.
            prompts = tf.strings.strip(_whole_letters(prompts))
        return tf.reshape(prompts, tf.shape(token_ids)[:-1])

    def each(self, token_ids):
        """Looks up the text of each id; those of special tokens become empty.

        Args:
            token_ids: int tensor of any shape.

        Returns:
            UTF-8 strings of the same shape.
        """
        found = tf.where(is_text(token_ids), tf.gather(self._pieces, token_ids), "")
        return _whole_letters(found) if self.vocabulary.is_raw else found

    def embed(self, token_ids):
        """Embeds prompts: ids `(prompts, tokens)` to float32 `(prompts, 384)`."""
        if not self.embeds_in_graph:
            return self._embedder(self.join(token_ids))
        return self._embedder(tf.ragged.boolean_mask(token_ids, is_text(token_ids)))

    def split(self, prompt: str) -> tuple[list[int], list[str], np.ndarray]:
        """Splits a prompt into ids and words.

        Returns:
            ids: list of int, the token ids.
            words: the prompt's words, split at white space.
            parts: float `(words, ids)`, weights that average over the ids of each word;
                rows sum to 1.
        """
        ids, words = self.vocabulary.encode(prompt), prompt.split()
        owners = self._owners(ids)
        weights = np.zeros((len(words), len(ids)))
        weights[owners, np.arange(len(ids))] = 1
        return ids, words, weights / np.maximum(weights.sum(axis=1, keepdims=True), 1)

    def _owners(self, ids: Sequence[int]) -> list[int]:
        if not self.vocabulary.is_raw:
            return list(range(len(ids)))
        # A piece belongs to one word only, possibly with the space before it.
        count, owners = 0, []
        for number, token_id in enumerate(ids):
            starts = self.vocabulary.pieces[token_id].startswith(b" ")
            count += starts and number > 0
            owners.append(count)
        return owners


def is_text(token_ids):
    """Whether token ids are those of text, not of special tokens."""
    return token_ids >= len(SPECIAL_TOKENS)


def _whole_letters(strings):
    return tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="ignore")
