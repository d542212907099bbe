"""Embeds texts that extend others, without recomputing their common prefixes."""

from collections.abc import Sequence

import numpy as np

from tf_prompt.interrogation.phrase_store import embed_texts, split_batches
from tf_prompt.models.prefixed_texts import PrefixedTexts


class Grower:
    """Embeds chains extended by one phrase.

    Args:
        model: a `CLIPInterrogator`; if it is not causal, each text is embedded as a
            whole.
        tokens: its tokens.
    """

    def __init__(self, model, tokens):
        self._model, self._tokens = model, tokens
        self._network = PrefixedTexts(model.backbone) if model.is_causal else None

    def __call__(
        self, texts: Sequence[str], bases: Sequence[str], owners: Sequence[int]
    ) -> np.ndarray:
        """Embeds texts.

        Args:
            texts: the extended texts.
            bases: the texts that they extend.
            owners: index of the base of each text.

        Returns:
            float32 `(texts, dim)`, rows of unit length.
        """
        if self._network is None:
            return embed_texts(self._model, self._tokens, texts)
        begun, rows = self._tokens.rows(bases), self._tokens.rows(texts)
        keys, values = self._read(begun)
        starts = [
            _count_equal(row, begun[owner])
            for row, owner in zip(rows, owners, strict=True)
        ]
        rests = [row[start:] for row, start in zip(rows, starts, strict=True)]
        result = np.empty((len(rows), self._model.embedding_dim), np.float32)
        for part in split_batches([len(rest) for rest in rests]):
            result[part], _, _ = self._network.predict_on_batch(
                {
                    "token_ids": self._tokens.pad([rests[i] for i in part]),
                    "starts": np.array([starts[i] for i in part], np.int32),
                    "ends": np.array([len(rests[i]) - 1 for i in part], np.int32),
                    "owners": np.array([owners[i] for i in part], np.int32),
                    "keys": keys,
                    "values": values,
                }
            )
        return result

    def _read(self, rows):
        """Keys and values of texts, as the network returns and accepts them."""
        nothing = np.zeros((1, *self._network.empty), np.float32)
        zeros = np.zeros(len(rows), np.int32)
        _, keys, values = self._network.predict_on_batch(
            {
                "token_ids": self._tokens.pad(rows),
                "starts": zeros,
                "ends": np.array([len(row) - 1 for row in rows], np.int32),
                "owners": zeros,
                "keys": nothing,
                "values": nothing,
            }
        )
        return keys, values


def _count_equal(row, other) -> int:
    """Length of the common prefix of two texts, without the last token of the first."""
    size = min(len(row) - 1, len(other))
    differ = np.flatnonzero(row[:size] != other[:size])
    return int(differ[0]) if len(differ) else size
