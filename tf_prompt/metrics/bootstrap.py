"""How far a score could move by chance: bootstrap intervals over examples.

Examples of one family, which are near-duplicates, are drawn together: as many families
as there are, with replacement (cluster bootstrap).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

# 8 MB of weights for 50,000 examples; one resample at a time is 5 times slower.
_RESAMPLES_AT_ONCE = 20


def interval(
    statistics: np.ndarray,
    score_sums: Callable[[np.ndarray], np.ndarray] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    families: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Computes the 95 % percentile interval of a corpus score.

    Each resample draws as many examples, or families, as there are, with replacement,
    and sums their statistics. The same seed and number of examples give the same
    resamples, so intervals of several metrics or models use the same ones.

    Args:
        statistics: `(examples,)`, scores whose mean is the corpus score; or
            `(examples, columns)`, counts for `score_sums`.
        score_sums: function from sums `(resamples, columns)` to scores
            `(resamples,)`; None takes the mean.
        resamples: int > 0, number of resamples.
        seed: int, random seed.
        families: the name of each example's family; None, or all different, draws
            examples.

    Returns:
        low, high: the 2.5 % and 97.5 % quantiles of the resampled scores.

    Raises:
        ValueError: if there are no examples or no resamples.

    Reference: Efron, 1979; Koehn, 2004, https://aclanthology.org/W04-3250; Davison
    and Hinkley, 1997, section 3.8, for families.
    """
    statistics = np.asarray(statistics, dtype=np.float64)
    examples = len(statistics)
    if examples < 1 or resamples < 1:
        raise ValueError(
            "statistics and resamples must not be empty. "
            f"Received: {examples} examples, resamples={resamples}"
        )
    statistics, sizes = add_up(statistics, families)
    totals = [
        (weights @ statistics, weights @ sizes)
        for weights in draw_weights(len(sizes), resamples, seed)
    ]
    sums, drawn = (np.concatenate(parts) for parts in zip(*totals, strict=True))
    scores = sums / drawn if score_sums is None else score_sums(sums)
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)


def add_up(
    statistics: np.ndarray, families: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Adds up the statistics of each family, in the order of their first examples.

    Args:
        statistics: float `(examples,)` or `(examples, columns)`.
        families: the name of each example's family; None makes each its own.

    Returns:
        statistics: `(families,)` or `(families, columns)`, sums.
        sizes: float64 `(families,)`, how many examples each has.

    Raises:
        ValueError: if there is not one family for each example.
    """
    if families is None:
        return statistics, np.ones(len(statistics))
    if len(families) != len(statistics):
        raise ValueError(
            "families must be as many as examples. "
            f"Received: {len(families)} and {len(statistics)}"
        )
    number: dict[str, int] = {}
    rows = np.array([number.setdefault(name, len(number)) for name in families])
    sums = np.zeros((len(number), *statistics.shape[1:]))
    np.add.at(sums, rows, statistics)
    return sums, np.bincount(rows).astype(np.float64)


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
