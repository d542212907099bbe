"""Tokenizer and embedder in a graph, for prompts made of known parts."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.metrics import prompt_embedder

# Tokens of the longest text for MiniLM, start and end included, as its authors set it.
MAX_TOKENS = 256


class PartTokens(tf.Module):
    """Converts lists of parts to the token ids of their text.

    No token of BERT or CLIP spans a space, so the ids of parts joined by spaces are
    the ids of the parts. TensorFlow can look them up; the tokenizer itself needs
    operations that TF Serving may lack.

    Args:
        ids: the token ids of each part.
        start_id: int, start token.
        end_id: int, end token.
        max_tokens: int > 2, maximum length, both included; longer texts are cut.

    Call arguments:
        parts: int tensor or ragged tensor `(batch, parts)`, indices of parts.

    Returns:
        ragged int32 tensor `(batch, tokens)`.
    """

    def __init__(self, ids: Sequence[Sequence[int]], start_id, end_id, max_tokens):
        super().__init__()
        self.start_id, self.end_id, self.max_tokens = start_id, end_id, max_tokens
        flat = np.concatenate([np.zeros(0, np.int32), *map(np.int32, ids)])
        self._ids = tf.RaggedTensor.from_row_lengths(
            flat.astype(np.int32), np.array([len(row) for row in ids], np.int64)
        )

    def __call__(self, parts):
        ids = tf.gather(self._ids, parts).merge_dims(1, 2)[:, : self.max_tokens - 2]
        ends = tf.ones((ids.nrows(), 1), tf.int32)
        return tf.concat([self.start_id * ends, ids, self.end_id * ends], axis=1)


class PartEmbedder(tf.Module):
    """MiniLM embeddings of prompts made of known parts.

    Args:
        parts: the texts of the parts.
        embedder: from `prompt_embedder.load_embedder`.

    Call arguments:
        parts: int tensor or ragged tensor `(batch, parts)`, indices of parts.

    Returns:
        float32 `(batch, 384)`, as `prompt_embedder.embed` returns for the parts joined
        by spaces.
    """

    def __init__(self, parts: Sequence[str], embedder: prompt_embedder.PromptEmbedder):
        super().__init__()
        tokenizer = embedder.preprocess.tokenizer
        self.network = embedder.network
        self._pad_id = tokenizer.pad_token_id
        self._tokens = PartTokens(
            [list(map(int, row)) for row in tokenizer(list(parts))],
            tokenizer.start_token_id,
            tokenizer.end_token_id,
            MAX_TOKENS,
        )

    def __call__(self, parts):
        ids = self._tokens(parts)
        token_ids = ids.to_tensor(self._pad_id)
        inputs = {
            "token_ids": token_ids,
            "segment_ids": tf.zeros_like(token_ids),
            "padding_mask": tf.sequence_mask(ids.row_lengths()),
        }
        names = [tensor.name for tensor in self.network.inputs]
        return self.network({name: inputs[name] for name in names}, training=False)


class TextEmbedder:
    """MiniLM embeddings of any texts.

    The graph calls Python, so it cannot be exported.

    Args:
        embedder: from `prompt_embedder.load_embedder`.

    Call arguments:
        texts: string `(batch,)`.

    Returns:
        float32 `(batch, 384)`.
    """

    def __init__(self, embedder: prompt_embedder.PromptEmbedder):
        self._embedder = embedder

    def __call__(self, texts):
        found = tf.numpy_function(self._embed, [texts], tf.float32)
        return tf.ensure_shape(found, (None, prompt_embedder.EMBEDDING_DIM))

    def _embed(self, texts):
        decoded = [text.decode() for text in texts]
        found = prompt_embedder.embed(decoded, self._embedder)
        return np.asarray(found, np.float32).reshape(-1, prompt_embedder.EMBEDDING_DIM)
