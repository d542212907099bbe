"""Whether two sets of predictions differ by more than the choice of examples."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tf_prompt.metrics.bootstrap import add_up, draw_weights


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much the first of two systems scores above the second.

    Args:
        difference: score of the first minus that of the second.
        low, high: 95 % percentile interval of the difference.
        p: two-sided, in (0, 1]; small where resamples agree on who is better.
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
    """Compares two systems on the same examples, drawn again and again.

    Each resample draws as many examples as there are, with replacement, the same
    ones for both. Twice the smaller share of resamples whose difference is not
    above, or not below, zero is the p value; one is added to count and total, so
    that it is never 0.

    Args:
        statistics_a: of the first system, `(examples,)`, scores whose mean is the
            corpus score; or `(examples, columns)`, counts for `score_sums`.
        statistics_b: of the second, examples in the same order.
        score_sums: from `(resamples, columns)` sums to `(resamples,)` scores;
            None takes the mean.
        resamples: int > 0, number of draws.
        seed: int, of the draws.
        families: the name of each example's family, drawn as one, see
            `bootstrap.interval`; None draws examples.

    Raises:
        ValueError: if the two are not equal in shape, or nothing can be drawn.

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
    # Both in one product: equal systems must differ by exactly 0.
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
            "statistics_a and statistics_b must be equal in shape. "
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
