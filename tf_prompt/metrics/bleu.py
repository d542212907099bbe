"""Corpus BLEU as in NLTK, from counts that can be summed and resampled."""

import importlib.metadata
from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs, count_ngrams

MAX_N = 4


def corpus_bleu(
    references: Sequence[str], predictions: Sequence[str], max_n: int = MAX_N
) -> float:
    """Computes corpus BLEU.

    As in NLTK, a prediction of fewer than four words counts as having one wrong
    longer n-gram: with references that short, the score stays below 100.

    Args:
        references: true prompts, words joined by spaces.
        predictions: predicted prompts, in the order of `references`.
        max_n: longest n-gram, 1 to 4.

    Returns:
        BLEU in 0–100, without smoothing.
    """
    counts = count_matches(references, predictions)
    return float(score_sums(counts.sum(axis=0), max_n))


def count_matches(references: Sequence[str], predictions: Sequence[str]) -> np.ndarray:
    """Counts the sufficient statistics of BLEU for each pair.

    Args:
        references: true prompts, words joined by spaces.
        predictions: predicted prompts, in the order of `references`.

    Returns:
        int64 `(examples, 10)`: numbers of n-grams of the prediction found in the
        reference, n = 1 to 4; of n-grams in the prediction, n = 1 to 4; of words in
        the prediction; of words in the reference.

    Raises:
        ValueError: if there is not one prediction per reference.
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
        # NLTK's rule for predictions that are too short; sacrebleu counts 0.
        totals.append(max(1, len(prediction) - n + 1))
    return [*matches, *totals, len(prediction), len(reference)]


def score_sums(sums: np.ndarray, max_n: int = MAX_N) -> np.ndarray:
    """Computes BLEU from summed counts.

    Args:
        sums: `(..., 10)`, sums of rows of `count_matches`.
        max_n: longest n-gram, 1 to 4.

    Returns:
        float64 `(...)` in 0–100; 0 if some n has no match.

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
    """Returns the metric's signature: everything that the score depends on."""
    version = importlib.metadata.version("nltk")
    return f"nltk:{version}|corpus_bleu|n:{max_n}|smooth:none|tok:split"
