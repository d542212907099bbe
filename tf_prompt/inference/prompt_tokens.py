"""From token ids to prompts, in a graph: a table and a join."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.data.text import SPECIAL_TOKENS
from tf_prompt.data.vocabulary import Vocabulary
from tf_prompt.inference.graph_embedder import PartEmbedder, TextEmbedder
from tf_prompt.metrics.prompt_embedder import PromptEmbedder


class PromptTokens(tf.Module):
    """What a captioner's ids say.

    Args:
        vocabulary: of the captioner.
        embedder: of `prompt_embedder.load_embedder`; None embeds nothing.

    Attributes:
        vocabulary: as given.
        embeds: whether prompts can be embedded, and whether in a graph.
        embeds_in_graph: see there. MiniLM's tokens end with a word: those of words are
            in a table, those of pieces of words only its tokenizer knows.
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
        """Writes prompts: ids `(…, tokens)` to string `(…)`, UTF-8."""
        flat = tf.reshape(token_ids, (-1, token_ids.shape[-1]))
        pieces = tf.ragged.boolean_mask(tf.gather(self._pieces, flat), is_said(flat))
        prompts = tf.strings.reduce_join(
            pieces, axis=-1, separator=self.vocabulary.separator
        )
        if self.vocabulary.is_raw:
            # A prompt that was cut may end within a letter.
            prompts = tf.strings.strip(_whole_letters(prompts))
        return tf.reshape(prompts, tf.shape(token_ids)[:-1])

    def each(self, token_ids):
        """Gives what each id writes, empty for the special ones."""
        found = tf.where(is_said(token_ids), tf.gather(self._pieces, token_ids), "")
        return _whole_letters(found) if self.vocabulary.is_raw else found

    def embed(self, token_ids):
        """Embeds prompts, float32 `(prompts, 384)`, of ids `(prompts, tokens)`."""
        if not self.embeds_in_graph:
            return self._embedder(self.join(token_ids))
        return self._embedder(tf.ragged.boolean_mask(token_ids, is_said(token_ids)))

    def split(self, prompt: str) -> tuple[list[int], list[str], np.ndarray]:
        """Tells which ids a prompt has, and which of its words each writes.

        Returns:
            ids; words, which white space parts; and float `(words, ids)`: rows of
            weights, each summing to 1, that average over the ids of a word.
        """
        ids, words = self.vocabulary.encode(prompt), prompt.split()
        owners = self._owners(ids)
        weights = np.zeros((len(words), len(ids)))
        weights[owners, np.arange(len(ids))] = 1
        return ids, words, weights / np.maximum(weights.sum(axis=1, keepdims=True), 1)

    def _owners(self, ids: Sequence[int]) -> list[int]:
        if not self.vocabulary.is_raw:
            return list(range(len(ids)))
        # A piece may hold the end of nothing and the start of one word only.
        count, owners = 0, []
        for number, token_id in enumerate(ids):
            starts = self.vocabulary.pieces[token_id].startswith(b" ")
            count += starts and number > 0
            owners.append(count)
        return owners


def is_said(token_ids):
    """Whether ids write something: they are not those of special tokens."""
    return token_ids >= len(SPECIAL_TOKENS)


def _whole_letters(strings):
    return tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="ignore")
