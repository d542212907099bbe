"""Pairs of references and predictions: a check shared by all metrics; n-grams."""

import collections
from collections.abc import Sequence, Sized


def check_pairs(references: Sized, predictions: Sized) -> None:
    """Checks that there is one prediction per reference, and at least one.

    Raises:
        ValueError: if the lengths differ, or both are empty.
    """
    if len(references) != len(predictions):
        raise ValueError(
            "references and predictions must have equal lengths. "
            f"Received: {len(references)} and {len(predictions)}"
        )
    if len(references) == 0:
        raise ValueError("references must hold at least one prompt. Received: none")


def count_ngrams(words: Sequence[str], n: int) -> collections.Counter:
    """Counts the n-grams of a list of words."""
    return collections.Counter(zip(*(words[i:] for i in range(n)), strict=False))
