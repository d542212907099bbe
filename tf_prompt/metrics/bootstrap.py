"""Bootstrap confidence intervals over examples."""

from collections.abc import Callable, Iterator

import numpy as np

# 8 MB of weights for 50,000 examples; one resample at a time is 5 times slower.
_RESAMPLES_AT_ONCE = 20


def interval(
    statistics: np.ndarray,
    score_sums: Callable[[np.ndarray], np.ndarray] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Computes the 95 % percentile interval of a corpus score.

    Each resample draws all examples with replacement and sums their statistics. The
    same seed and number of examples give the same resamples, so intervals of several
    metrics or models use the same ones.

    Args:
        statistics: `(examples,)`, scores whose mean is the corpus score; or
            `(examples, columns)`, counts for `score_sums`.
        score_sums: function from sums `(resamples, columns)` to scores
            `(resamples,)`; None takes the mean.
        resamples: int > 0, number of resamples.
        seed: int, random seed.

    Returns:
        low, high: the 2.5 % and 97.5 % quantiles of the resampled scores.

    Raises:
        ValueError: if there are no examples or no resamples.

    Reference: Efron, 1979; Koehn, 2004, https://aclanthology.org/W04-3250.
    """
    statistics = np.asarray(statistics, dtype=np.float64)
    examples = len(statistics)
    if examples < 1 or resamples < 1:
        raise ValueError(
            "statistics and resamples must not be empty. "
            f"Received: {examples} examples, resamples={resamples}"
        )
    drawn = draw_weights(examples, resamples, seed)
    sums = np.concatenate([weights @ statistics for weights in drawn])
    scores = sums / examples if score_sums is None else score_sums(sums)
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)


def draw_weights(examples: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draws bootstrap resamples, a few at a time.

    Args:
        examples: int > 0, number of examples, and of draws per resample.
        resamples: int > 0, number of resamples.
        seed: int, random seed.

    Yields:
        float64 `(some resamples, examples)`: how often each example was drawn.
    """
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        weights = np.empty((min(_RESAMPLES_AT_ONCE, resamples - start), examples))
        for row in weights:
            drawn = generator.integers(examples, size=examples)
            row[:] = np.bincount(drawn, minlength=examples)
        yield weights
