"""CIDEr-D: n-grams weighted by their rarity among the true prompts."""

import collections
import math
from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs, count_ngrams

MAX_N = 4
SIGMA = 6.0


def score_pairs(references: Sequence[str], predictions: Sequence[str]) -> np.ndarray:
    """Scores each prediction against its one reference.

    The weight of an n-gram depends on the number of references that contain it, so
    scores depend on the whole set of references: compare them on one set only.

    Args:
        references: true prompts, words joined by spaces; each counts as a document,
            repeated ones too.
        predictions: predicted prompts, in the order of `references`.

    Returns:
        float64 `(examples,)` in 0–10, pycocoevalcap's scale; the corpus score is the
        mean. All 0 for a single reference, since every weight is log 1.

    Raises:
        ValueError: if there is not one prediction per reference.

    Reference: Vedantam et al., 2015, https://arxiv.org/abs/1411.5726, eqs. 1-4
    and section "CIDEr-D".
    """
    check_pairs(references, predictions)
    known = [_count_all(reference) for reference in references]
    documents = collections.Counter(ngram for counts in known for ngram in counts)
    idf = {ngram: math.log(len(known) / count) for ngram, count in documents.items()}
    unseen = math.log(len(known))
    scores = np.empty(len(known))
    for i, (counts, prediction) in enumerate(zip(known, predictions, strict=True)):
        true = _weigh(counts, idf, unseen)
        written = _weigh(_count_all(prediction), idf, unseen)
        gap = len(references[i].split()) - len(prediction.split())
        scores[i] = _similarity(true, written) * math.exp(-(gap**2) / (2 * SIGMA**2))
    return 10 * scores


def _count_all(prompt: str) -> collections.Counter:
    words = prompt.split()
    counts: collections.Counter = collections.Counter()
    for n in range(1, MAX_N + 1):
        counts.update(count_ngrams(words, n))
    return counts


def _weigh(counts, idf, unseen) -> list[dict]:
    vectors: list[dict] = [{} for _ in range(MAX_N)]
    for ngram, count in counts.items():
        vectors[len(ngram) - 1][ngram] = count * idf.get(ngram, unseen)
    return vectors


def _similarity(true: list[dict], written: list[dict]) -> float:
    total = 0.0
    for t, w in zip(true, written, strict=True):
        product = sum(min(w[g], t[g]) * t[g] for g in w if g in t)
        if product > 0:
            squares = sum(v * v for v in t.values()) * sum(v * v for v in w.values())
            total += product / squares**0.5
    return total / MAX_N


def signature() -> str:
    """Returns the metric's signature: everything that the score depends on."""
    return f"cider-d|n:{MAX_N}|sigma:{SIGMA:g}|idf:references|times:10|tok:split"
