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
        if model.is_causal:
            self._read = PrefixedTexts(model.backbone, keeps=True)
            self._go_on = PrefixedTexts(model.backbone)

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
        if not self._model.is_causal:
            return embed_texts(self._model, self._tokens, texts)
        begun, rows = self._tokens.rows(bases), self._tokens.rows(texts)
        nothing = np.zeros((1, *self._read.empty), np.float32)
        zeros = [0] * len(begun)
        inputs = self._make_inputs(begun, zeros, zeros, nothing, nothing)
        keys, values = self._read.predict_on_batch(inputs)
        starts = [
            _count_equal(row, begun[owner])
            for row, owner in zip(rows, owners, strict=True)
        ]
        rests = [row[start:] for row, start in zip(rows, starts, strict=True)]
        # What was read before takes room too, if less.
        sizes = [
            len(rest) + start // 8 for rest, start in zip(rests, starts, strict=True)
        ]
        result = np.empty((len(rows), self._model.embedding_dim), np.float32)
        for part in split_batches(sizes):
            inputs = self._make_inputs(
                [rests[i] for i in part],
                [starts[i] for i in part],
                [owners[i] for i in part],
                keys,
                values,
            )
            result[part] = self._go_on.predict_on_batch(inputs)
        return result

    def _make_inputs(self, rows, starts, owners, keys, values):
        return {
            "token_ids": self._tokens.pad(rows),
            "starts": np.array(starts, np.int32),
            "ends": np.array([len(row) - 1 for row in rows], np.int32),
            "owners": np.array(owners, np.int32),
            "keys": keys,
            "values": values,
        }


def _count_equal(row, other) -> int:
    """Length of the common prefix of two texts, without the last token of the first."""
    size = min(len(row) - 1, len(other))
    differ = np.flatnonzero(row[:size] != other[:size])
    return int(differ[0]) if len(differ) else size
