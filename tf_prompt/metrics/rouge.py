"""ROUGE-L: the longest common subsequence of words."""

from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs


def score_pairs(references: Sequence[str], predictions: Sequence[str]) -> np.ndarray:
    """Scores each prediction by the common words in the same order.

    Args:
        references: true prompts, words joined by spaces.
        predictions: predicted prompts, in the order of `references`.

    Returns:
        float64 `(examples,)` in 0–100, the F1 of the longest common subsequence; the
        corpus score is the mean.

    Raises:
        ValueError: if there is not one prediction per reference.

    Reference: Lin, 2004, https://aclanthology.org/W04-1013, section 3.1, with
    beta = 1 as in the package rouge-score.
    """
    check_pairs(references, predictions)
    scores = []
    for reference, prediction in zip(references, predictions, strict=True):
        true, written = reference.split(), prediction.split()
        common = common_length(true, written)
        total = len(true) + len(written)
        scores.append(200 * common / total if total else 0.0)
    return np.array(scores, np.float64)


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        previous = 0
        for j, other in enumerate(second, 1):
            above = row[j]
            row[j] = previous + 1 if word == other else max(above, row[j - 1])
            previous = above
    return row[-1]


def signature() -> str:
    """Returns the metric's signature: everything that the score depends on."""
    return "rouge-l|f:1|stem:none|tok:split"
