"""Signs that a captioner degenerates, which no score of likeness shows by itself."""

from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs


def measure_health(
    references: Sequence[str], predictions: Sequence[str], ended: Sequence[bool]
) -> dict[str, float]:
    """Measures how varied and how long the predictions are.

    Args:
        references: true prompts, words joined by spaces.
        predictions: written prompts, in the order of `references`.
        ended: whether each prediction ended with the end token, not at the limit.

    Returns:
        `unique_ratio`: distinct predictions over predictions. `end_rate`: share
        that ended. `length_ratio`: words written over words in the references.
        `distinct_1`, `distinct_2`: distinct words, and pairs of neighbours, over
        all of them in the predictions. A ratio over nothing is 0.

    Raises:
        ValueError: if the three are not equally many, or empty.

    Reference: distinct-n from Li et al., 2016, https://arxiv.org/abs/1510.03055.
    """
    check_pairs(references, predictions)
    if len(ended) != len(predictions):
        raise ValueError(
            "ended must hold one value for each prediction. "
            f"Received: {len(ended)} for {len(predictions)}"
        )
    written = [prediction.split() for prediction in predictions]
    words = [word for prompt in written for word in prompt]
    neighbours = [pair for p in written for pair in zip(p, p[1:], strict=False)]
    reference_words = sum(len(reference.split()) for reference in references)
    return {
        "unique_ratio": len(set(predictions)) / len(predictions),
        "end_rate": float(np.mean(ended)),
        "length_ratio": len(words) / reference_words if reference_words else 0.0,
        "distinct_1": _distinct(words),
        "distinct_2": _distinct(neighbours),
    }


def _distinct(items: list) -> float:
    return len(set(items)) / len(items) if items else 0.0
