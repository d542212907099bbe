"""Significance of the difference between two sets of predictions."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tf_prompt.metrics.bootstrap import add_up, draw_weights


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference between the scores of two systems.

    Args:
        difference: score of the first minus that of the second.
        low, high: 95 % percentile interval of the difference.
        p: two-sided p value, in (0, 1].
    """

    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    statistics_a: np.ndarray,
    statistics_b: np.ndarray,
    score_sums: Callable[[np.ndarray], np.ndarray] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    families: Sequence[str] | None = None,
) -> Difference:
    """Compares two systems by a paired bootstrap over the same examples.

    Each resample draws all examples with replacement, the same ones for both. The p
    value is twice the smaller of two shares of resamples: with a difference <= 0, and
    with one >= 0. One is added to count and total, so that it is never 0.

    Args:
        statistics_a: statistics of the first system: `(examples,)`, scores whose mean
            is the corpus score; or `(examples, columns)`, counts for `score_sums`.
        statistics_b: statistics of the second, with examples in the same order.
        score_sums: function from sums `(resamples, columns)` to scores
            `(resamples,)`; None takes the mean.
        resamples: int > 0, number of resamples.
        seed: int, random seed.
        families: the name of each example's family, drawn as one, see
            `bootstrap.interval`; None draws examples.

    Returns:
        `Difference`.

    Raises:
        ValueError: if the shapes differ, or there are no examples or resamples.

    Reference: Koehn, 2004, https://aclanthology.org/W04-3250, section 4; the added
    one is from Davison and Hinkley, 1997, eq. 4.11.
    """
    both = _stack(statistics_a, statistics_b, resamples, families)
    # The last column counts the examples.
    score = (
        (lambda sums: sums[..., 0] / sums[..., -1])
        if score_sums is None
        else (lambda sums: score_sums(sums[..., :-1]))
    )
    observed = score(both.sum(axis=1))
    drawn = draw_weights(both.shape[1], resamples, seed)
    # Both in one product, so that equal systems differ by exactly 0.
    sums = np.concatenate([weights @ both for weights in drawn], axis=1)
    differences = score(sums[0]) - score(sums[1])
    low, high = np.quantile(differences, [0.025, 0.975])
    fewer = min((differences <= 0).sum(), (differences >= 0).sum())
    return Difference(
        difference=float(observed[0] - observed[1]),
        low=float(low),
        high=float(high),
        p=float(min(1.0, 2 * (fewer + 1) / (resamples + 1))),
    )


def _stack(statistics_a, statistics_b, resamples: int, families) -> np.ndarray:
    first = np.asarray(statistics_a, dtype=np.float64)
    second = np.asarray(statistics_b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(
            "statistics_a and statistics_b must have equal shapes. "
            f"Received: {first.shape} and {second.shape}"
        )
    if len(first) < 1 or resamples < 1:
        raise ValueError(
            "statistics and resamples must not be empty. "
            f"Received: {len(first)} examples, resamples={resamples}"
        )
    found = []
    for statistics in (first, second):
        sums, sizes = add_up(statistics, families)
        found.append(np.column_stack([sums.reshape(len(sizes), -1), sizes]))
    return np.stack(found)
