"""Latent semantic analysis: vectors of prompts by their words."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

# Their Gram matrix takes 130 MB.
MAX_WORDS = 4096
_PROMPTS_AT_ONCE = 2048


class TextVectors:
    """Converts prompts to vectors that are close if the prompts share words.

    Words are weighted by idf, the logarithm of the number of prompts over the number
    with the word. The vectors are projected onto the leading singular vectors.

    Args:
        prompts: prompts of the training split, words joined by spaces.
        dim: int > 0. Width of the vectors; if there are fewer words, padded with zeros.

    Call arguments:
        prompts: list of str, words joined by spaces.

    Returns:
        float32 `(prompts, dim)`; zeros for prompts without known words.

    Reference: Deerwester et al., 1990, "Indexing by latent semantic analysis".
    """

    def __init__(self, prompts: Sequence[str], dim: int):
        counts = collections.Counter(w for p in prompts for w in set(p.split()))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))[:MAX_WORDS]
        self._columns = {word: i for i, word in enumerate(ranked)}
        held = np.array([counts[word] for word in ranked], np.float32)
        self._idf = np.log(max(len(prompts), 1) / held)
        gram = np.zeros((len(ranked), len(ranked)))
        for rows in self._weigh(prompts):
            gram += rows.T @ rows
        # Right singular vectors of the prompts, the largest first.
        found = np.linalg.eigh(gram)[1][:, ::-1][:, :dim]
        self._basis = np.zeros((len(ranked), dim), np.float32)
        self._basis[:, : found.shape[1]] = found

    def __call__(self, prompts: Sequence[str]) -> np.ndarray:
        parts = [rows @ self._basis for rows in self._weigh(prompts)]
        return np.concatenate(parts).astype(np.float32)

    def _weigh(self, prompts) -> Iterable[np.ndarray]:
        """Yields blocks of float32 `(prompts, words)`, rows of unit length or zeros."""
        for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
            block = prompts[start : start + _PROMPTS_AT_ONCE]
            rows = np.zeros((len(block), len(self._columns)), np.float32)
            for row, prompt in zip(rows, block, strict=True):
                known = {self._columns.get(word) for word in prompt.split()} - {None}
                row[list(known)] = self._idf[list(known)]
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            yield rows / np.maximum(lengths, 1e-12)
