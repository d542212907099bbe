"""Corpus BLEU as NLTK computes it, from counts that can be summed and resampled."""

import importlib.metadata
from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs, count_ngrams

MAX_N = 4


def corpus_bleu(
    references: Sequence[str], predictions: Sequence[str], max_n: int = MAX_N
) -> float:
    """Scores all predictions as one text.

    As in NLTK, a prediction of under four words counts as holding one longer
    n-gram that is wrong: true prompts that short keep the score below 100.

    Args:
        references: true prompts, words joined by spaces.
        predictions: written prompts, in the order of `references`.
        max_n: longest n-gram, 1 to 4.

    Returns:
        BLEU in 0–100, not smoothed.
    """
    counts = count_matches(references, predictions)
    return float(score_sums(counts.sum(axis=0), max_n))


def count_matches(references: Sequence[str], predictions: Sequence[str]) -> np.ndarray:
    """Counts, for each pair, all that BLEU needs to know.

    Returns:
        int64 `(examples, 10)`: n-grams of the prediction found in the reference,
        for n = 1 to 4; n-grams of the prediction, for n = 1 to 4; words of the
        prediction; words of the reference.

    Raises:
        ValueError: if there is not one prediction for each reference.
    """
    check_pairs(references, predictions)
    counts = np.empty((len(references), 2 * MAX_N + 2), dtype=np.int64)
    for row, reference, prediction in zip(counts, references, predictions, strict=True):
        row[:] = _count_pair(reference.split(), prediction.split())
    return counts


def _count_pair(reference: list[str], prediction: list[str]) -> list[int]:
    matches, totals = [], []
    for n in range(1, MAX_N + 1):
        known = count_ngrams(reference, n)
        written = count_ngrams(prediction, n)
        matches.append(sum(min(c, known.get(g, 0)) for g, c in written.items()))
        # NLTK's rule for a prediction too short to hold any; sacrebleu counts 0.
        totals.append(max(1, len(prediction) - n + 1))
    return [*matches, *totals, len(prediction), len(reference)]


def score_sums(sums: np.ndarray, max_n: int = MAX_N) -> np.ndarray:
    """Turns summed counts into BLEU.

    Args:
        sums: `(..., 10)`, rows of `count_matches` added up.
        max_n: longest n-gram, 1 to 4.

    Returns:
        float64 `(...)` in 0–100; 0 where some length has no match.

    Raises:
        ValueError: if `max_n` is out of range.

    Reference: Papineni et al., 2002, https://aclanthology.org/P02-1040, section 2.3.
    """
    if not 1 <= max_n <= MAX_N:
        raise ValueError(f"max_n must be 1 to {MAX_N}. Received: {max_n}")
    matches, totals = sums[..., :max_n], sums[..., MAX_N : MAX_N + max_n]
    predicted_words, reference_words = sums[..., -2], sums[..., -1]
    with np.errstate(divide="ignore"):
        log_precision = np.log(matches / totals).mean(axis=-1)
    log_brevity = np.minimum(0, 1 - reference_words / np.maximum(predicted_words, 1))
    return 100 * np.exp(log_precision + log_brevity)


def signature(max_n: int = MAX_N) -> str:
    """Names what the number depends on."""
    version = importlib.metadata.version("nltk")
    return f"nltk:{version}|corpus_bleu|n:{max_n}|smooth:none|tok:split"
