"""Signs that a captioner degenerates, which no score of likeness shows by itself."""

from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs

# Limits of `find_collapse`. Trained models of the toy set and true prompts of
# DiffusionDB keep far from each: unique near 1, repeated below 0.05, ended near 1.
COLLAPSED_UNIQUE, COLLAPSED_REPEATED, COLLAPSED_ENDED = 0.2, 0.2, 0.5


def measure_health(
    references: Sequence[str],
    predictions: Sequence[str],
    ended: Sequence[bool | None],
) -> dict[str, float | None]:
    """Measures how varied and how long the predictions are.

    Args:
        references: true prompts, words joined by spaces.
        predictions: written prompts, in the order of `references`.
        ended: whether each prediction ended with the end token, not at the limit;
            None where no word is decoded.

    Returns:
        `unique_ratio`: distinct predictions over predictions. `end_rate`: share
        that ended; None if none is known. `length_ratio`: words written over words
        in the references.
        `distinct_1`, `distinct_2`: distinct words, and pairs of neighbours, over
        all of them in the predictions. `repeated_2`: share of a prediction's
        pairs of neighbours that it had before, the mean over predictions. A ratio
        over nothing is 0.

    Raises:
        ValueError: if the three are not equally many, or empty.

    Reference: distinct-n from Li et al., 2016, https://arxiv.org/abs/1510.03055;
    repeated_2 is seq-rep-n of Welleck et al., 2019,
    https://arxiv.org/abs/1908.04319, section 3.
    """
    check_pairs(references, predictions)
    if len(ended) != len(predictions):
        raise ValueError(
            "ended must hold one value for each prediction. "
            f"Received: {len(ended)} for {len(predictions)}"
        )
    known = [value for value in ended if value is not None]
    written = [prediction.split() for prediction in predictions]
    words = [word for prompt in written for word in prompt]
    neighbours = [pair for p in written for pair in zip(p, p[1:], strict=False)]
    reference_words = sum(len(reference.split()) for reference in references)
    return {
        "unique_ratio": len(set(predictions)) / len(predictions),
        "end_rate": float(np.mean(known)) if known else None,
        "length_ratio": len(words) / reference_words if reference_words else 0.0,
        "distinct_1": _distinct(words),
        "distinct_2": _distinct(neighbours),
        "repeated_2": float(np.mean([_repeated(words) for words in written])),
    }


def find_collapse(
    references: Sequence[str],
    predictions: Sequence[str],
    ended: Sequence[bool | None],
) -> list[str]:
    """Says how a model that writes the same thing again and again does so.

    Args:
        references, predictions, ended: as in `measure_health`.

    Returns:
        A sentence a sign; none for a model that varies as true prompts do.
    """
    health = measure_health(references, predictions, ended)
    signs = []
    share = len(set(predictions)) / len(set(references))
    if len(set(references)) > 1 and share < COLLAPSED_UNIQUE:
        most = max(set(predictions), key=list(predictions).count)
        signs.append(
            f"{len(set(predictions))} distinct predictions for {len(set(references))} "
            f"distinct prompts; the most frequent is: {most}"
        )
    if health["repeated_2"] > COLLAPSED_REPEATED:
        signs.append(
            f"{health['repeated_2']:.0%} of the pairs of words in a prediction repeat"
        )
    if health["end_rate"] is not None and health["end_rate"] < COLLAPSED_ENDED:
        signs.append(f"only {health['end_rate']:.0%} of the predictions end")
    return signs


def _repeated(words: list[str]) -> float:
    pairs = list(zip(words, words[1:], strict=False))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def _distinct(items: list) -> float:
    return len(set(items)) / len(items) if items else 0.0
