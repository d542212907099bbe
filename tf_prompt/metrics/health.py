"""Signs of a degenerate captioner that similarity scores alone do not show."""

from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs

# Thresholds of `find_collapse`. Models trained on the toy set, and true prompts of
# DiffusionDB, stay far away: unique near 1, repeated below 0.05, ended near 1.
COLLAPSED_UNIQUE, COLLAPSED_REPEATED, COLLAPSED_ENDED = 0.2, 0.2, 0.5


def measure_health(
    references: Sequence[str],
    predictions: Sequence[str],
    ended: Sequence[bool | None],
) -> dict[str, float | None]:
    """Measures how varied and how long the predictions are.

    Args:
        references: true prompts, words joined by spaces.
        predictions: predicted prompts, in the order of `references`.
        ended: whether each prediction ended with the end token, not at the length
            limit; None for models that do not decode words.

    Returns:
        dict of
        - `unique_ratio`: distinct predictions over all predictions;
        - `end_rate`: share that ended; None if unknown;
        - `length_ratio`: words in the predictions over words in the references;
        - `distinct_1`, `distinct_2`: distinct words and word pairs over all words and
          pairs of the predictions;
        - `repeated_2`: share of a prediction's word pairs that occurred before in
          it, averaged over predictions.
        Ratios with an empty denominator are 0.

    Raises:
        ValueError: if the arguments differ in length or are empty.

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
    """Finds signs that a model has collapsed to a few repetitive prompts.

    Args:
        references, predictions, ended: as in `measure_health`.

    Returns:
        list of one sentence per sign; empty if predictions vary like true prompts.
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
            f"{health['repeated_2']:.0%} of the word pairs in a prediction repeat"
        )
    if health["end_rate"] is not None and health["end_rate"] < COLLAPSED_ENDED:
        signs.append(f"only {health['end_rate']:.0%} of the predictions end")
    return signs


def _repeated(words: list[str]) -> float:
    pairs = list(zip(words, words[1:], strict=False))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def _distinct(items: list) -> float:
    return len(set(items)) / len(items) if items else 0.0
