"""Pairs of reference and prediction: the check all metrics share, and n-grams."""

import collections
from collections.abc import Sequence, Sized


def check_pairs(references: Sized, predictions: Sized) -> None:
    """Checks that each prediction has its reference.

    Raises:
        ValueError: if the lengths differ, or both are empty.
    """
    if len(references) != len(predictions):
        raise ValueError(
            "references and predictions must be equally many. "
            f"Received: {len(references)} and {len(predictions)}"
        )
    if len(references) == 0:
        raise ValueError("references must hold at least one prompt. Received: none")


def count_ngrams(words: Sequence[str], n: int) -> collections.Counter:
    """Counts the runs of `n` words; a shorter prompt has none."""
    return collections.Counter(zip(*(words[i:] for i in range(n)), strict=False))
