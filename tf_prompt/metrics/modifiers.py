"""Metrics of modifiers, the parts of a prompt after its first comma.

A prompt is a subject and modifiers. Published work compares the sets of modifiers of
the true and the written prompt.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

METRICS = ("precision", "recall", "f1", "jaccard")
SIGNATURE = "modifiers:comma-separated, after the first|text:words"


def split_modifiers(prompt: str, normalise: Callable[[str], str]) -> list[str]:
    """Lists the modifiers of an original prompt.

    Args:
        prompt: text with commas.
        normalise: from text to words joined by spaces.

    Returns:
        The comma-separated parts after the first, normalised, each once, in order;
        parts without a word are left out.

    Reference: Shen et al., 2023, https://arxiv.org/abs/2302.09923.
    """
    parts = map(normalise, prompt.split(",")[1:])
    return [part for part in dict.fromkeys(parts) if part]


class ModifierFinder:
    """Finds modifiers in a prompt of words, whose commas are lost.

    From left to right the longest known modifier is taken; other words are
    skipped.

    Args:
        known: modifiers, words joined by spaces.

    Call arguments:
        words: a prompt, words joined by spaces.

    Returns:
        list of the modifiers, each once, in order.
    """

    def __init__(self, known: Iterable[str]):
        self._known = {tuple(modifier.split()) for modifier in known} - {()}
        self._longest = max(map(len, self._known), default=0)

    def __call__(self, words: str) -> list[str]:
        left, found = tuple(words.split()), []
        while left:
            for length in range(min(self._longest, len(left)), 0, -1):
                if left[:length] in self._known:
                    found.append(" ".join(left[:length]))
                    break
            else:
                length = 1
            left = left[length:]
        return list(dict.fromkeys(found))


def count_matches(
    true: Sequence[Iterable[str]], found: Sequence[Iterable[str]]
) -> np.ndarray:
    """Counts, for each prompt, what the metrics need.

    Args:
        true: modifiers of each true prompt, at least one each.
        found: those of each written prompt.

    Returns:
        float64 `(examples, 5)`: modifiers in both, in the written prompt, in the true
        one; their Jaccard, both over either; and 1.

    Raises:
        ValueError: if the lengths differ, or a true prompt has no modifiers.
    """
    rows = []
    for first, second in zip(true, found, strict=True):
        first, second = set(first), set(second)
        if not first:
            raise ValueError("a true prompt must have a modifier. Received: none")
        both = len(first & second)
        either = len(first | second)
        rows.append((both, len(second), len(first), both / either, 1))
    return np.array(rows, np.float64).reshape(-1, 5)


def score_sums(sums: np.ndarray, metric: str) -> np.ndarray:
    """Computes a metric from summed counts.

    Precision, recall and F1 are over all modifiers together (micro); Jaccard is the
    mean over prompts, as in published work.

    Args:
        sums: `(..., 5)`, rows of `count_matches` added up.
        metric: one of `METRICS`.

    Returns:
        float64 `(...)` in 0-1.
    """
    both, found, true, jaccard, examples = np.moveaxis(sums, -1, 0)
    if metric == "jaccard":
        return jaccard / examples
    over = {"precision": found, "recall": true, "f1": (found + true) / 2}[metric]
    return both / np.maximum(over, 1e-12)
