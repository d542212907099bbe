"""Fits the weights of an ensemble to validation examples."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tf_prompt.data.vectors import unit_rows
from tf_prompt.metrics import cosine

MAX_MEMBERS = 8
PENALTIES = tuple(10.0**e for e in np.arange(-4, 2.5, 0.5))
# Names of the rows that combine members.
JOINED = ("uniform", "report", "simplex", "ridge")
# Largest number of grid points from which the simplex search starts.
_MAX_GRID = 500
_EXAMPLES_AT_ONCE = 4096
_SMALLEST_STEP = 1e-6


@dataclasses.dataclass(frozen=True)
class Stacking:
    """A fitted ridge regression, for `Ensemble.set_stacking`.

    Args:
        kernel: float32 `(members * dim, dim)`.
        bias: float32 `(dim,)`.
        penalty: the chosen value of `PENALTIES`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float


def stack(embeddings, stacking: Stacking) -> np.ndarray:
    """Applies a ridge regression.

    Args:
        embeddings: float `(examples, members, dim)`.
        stacking: the fitted ridge.

    Returns:
        float32 `(examples, dim)`, rows of unit length.
    """
    joined = unit_rows(embeddings).reshape(len(embeddings), -1)
    return unit_rows(joined @ stacking.kernel + stacking.bias)


def check_examples(embeddings, targets, members: Sequence[str] | None = None) -> None:
    """Checks the examples that weights are fitted to.

    Args:
        embeddings: float `(examples, members, dim)` of 1-8 members.
        targets: float `(examples, dim)`.
        members: names of the members; None does not check them.

    Raises:
        ValueError: for other shapes, numbers that are not finite, or names that are
            not distinct.
    """
    shape = np.shape(embeddings)
    sound = len(shape) == 3 and min(shape) > 0 and shape[1] <= MAX_MEMBERS
    if not sound or np.shape(targets) != (shape[0], shape[2]):
        raise ValueError(
            "embeddings and targets must be (examples, members, dim), 1-8 members, and "
            f"(examples, dim). Received: {shape} and {np.shape(targets)}"
        )
    names = shape[1] if members is None else len(set(members) - set(JOINED))
    if names != shape[1]:
        raise ValueError(
            f"members must be {shape[1]} distinct names, other than "
            f"{', '.join(JOINED)}. Received: {list(members)}"
        )
    if not (np.isfinite(embeddings).all() and np.isfinite(targets).all()):
        raise ValueError("embeddings and targets must be finite. Received: NaN or inf")


def fit_simplex(embeddings, targets) -> np.ndarray:
    """Finds the weights with the highest mean cosine.

    The search starts at the best point of a grid over the simplex. Then weight moves
    from one member to another wherever that gains most, in steps that are halved when
    no move gains. These moves span all directions in a simplex, its faces included:
    the search only ends where no small change gains. It needs no learning rate and is
    deterministic. Multiplicative gradient updates could not leave a weight of 0, nor
    reach it.

    Args:
        embeddings: float `(examples, members, dim)` of 1-8 members.
        targets: float `(examples, dim)`.

    Returns:
        float64 `(members,)`, non-negative, summing to 1.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_examples(embeddings, targets)
    num_members = embeddings.shape[1]
    products = _Products(embeddings, targets)
    grid = np.array(list(_grid(num_members)))
    weights = grid[products.scores(grid).argmax()]
    score = products.scores(weights[None])[0]
    pairs = list(itertools.permutations(range(num_members), 2))
    step = 0.25
    while pairs and step > _SMALLEST_STEP:
        moved = np.repeat(weights[None], len(pairs), axis=0)
        for row, (giver, taker) in zip(moved, pairs, strict=True):
            amount = min(step, row[giver])
            row[giver] -= amount
            row[taker] += amount
        scores = products.scores(moved)
        best = scores.argmax()
        if scores[best] > score + 1e-12:
            weights, score = moved[best], scores[best]
        else:
            step /= 2
    return weights / weights.sum()


class _Products:
    """Mean cosine of weighted means, from scalar products independent of `dim`.

    With G the Gram matrix of an example's members and b their products with its
    target, the cosine for weights w is b·w / sqrt(w·G·w).
    """

    def __init__(self, embeddings, targets):
        num_members = embeddings.shape[1]
        self.with_target = np.empty((len(embeddings), num_members))
        self.with_each_other = np.empty((len(embeddings), num_members**2))
        for start in range(0, len(embeddings), _EXAMPLES_AT_ONCE):
            part = slice(start, start + _EXAMPLES_AT_ONCE)
            e = unit_rows(embeddings[part]).astype(np.float64)
            t = unit_rows(targets[part]).astype(np.float64)
            self.with_target[part] = np.einsum("bmd,bd->bm", e, t)
            self.with_each_other[part] = (e @ e.swapaxes(1, 2)).reshape(len(e), -1)

    def scores(self, candidates):
        """Mean cosine for each row of weights, `(candidates,)`."""
        pairs = np.einsum("cm,cn->cmn", candidates, candidates)
        pairs = pairs.reshape(len(candidates), -1)
        total = np.zeros(len(candidates))
        for start in range(0, len(self.with_target), _EXAMPLES_AT_ONCE):
            part = slice(start, start + _EXAMPLES_AT_ONCE)
            squares = self.with_each_other[part] @ pairs.T
            lengths = np.sqrt(np.maximum(squares, 1e-24))
            total += (self.with_target[part] @ candidates.T / lengths).sum(axis=0)
        return total / len(self.with_target)


def _grid(num_members) -> Iterator[np.ndarray]:
    parts = 20
    while parts > 1 and math.comb(parts + num_members - 1, parts) > _MAX_GRID:
        parts -= 1
    # Stars and bars: the places of num_members - 1 bars give the shares.
    places = range(parts + num_members - 1)
    for bars in itertools.combinations(places, num_members - 1):
        edges = np.array([-1, *bars, parts + num_members - 1])
        yield (np.diff(edges) - 1) / parts


def fit_ridge(
    embeddings,
    targets,
    start,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 5,
    seed: int = 0,
) -> Stacking:
    """Fits a ridge regression from all members' embeddings to the target.

    The penalty pulls the matrix towards the weighted mean with weights `start`, not
    towards zero: with few examples it falls back to a good ensemble.

    Args:
        embeddings: float `(examples, members, dim)`.
        targets: float `(examples, dim)`.
        start: float `(members,)`, weights such as those of `fit_simplex`.
        penalties: penalties to choose from, in units of the number of examples.
        folds: int in 2-`examples`, folds of the cross-validation that chooses the
            penalty with the highest mean cosine on held-out examples.
        seed: int, seed of the folds.

    Returns:
        The ridge with that penalty, fitted to all examples.

    Raises:
        ValueError: if shapes or folds do not fit.

    Reference: Hoerl and Kennard, 1970, ridge regression, in closed form by the
    eigenvectors of X'X; Breiman, 1996, stacked regressions.
    """
    check_examples(embeddings, targets)
    if not 2 <= folds <= len(embeddings):
        raise ValueError(
            f"folds must be between 2 and the number of examples, {len(embeddings)}. "
            f"Received: {folds}"
        )
    x, y, prior = _design(embeddings, targets, start)
    fold_of = np.random.default_rng(seed).permutation(len(x)) % folds
    scores = np.zeros(len(penalties))
    for fold in range(folds):
        kept, left_out = fold_of != fold, fold_of == fold
        solve = _solver(x[kept], y[kept] - x[kept] @ prior)
        for i, penalty in enumerate(penalties):
            predicted = x[left_out] @ (prior + solve(penalty))
            scores[i] += cosine.cosines(y[left_out], predicted).sum()
    penalty = penalties[int(scores.argmax())]
    fitted = (prior + _solver(x, y - x @ prior)(penalty)).astype(np.float32)
    return Stacking(fitted[:-1], fitted[-1], float(penalty))


def _design(embeddings, targets, start):
    num_examples, num_members, dim = embeddings.shape
    x = unit_rows(embeddings).reshape(num_examples, -1)
    # The bias is a column like the others, so that it is pulled to 0 as well.
    x = np.concatenate([x, np.ones((num_examples, 1), np.float32)], axis=1)
    y = unit_rows(targets)
    prior = np.zeros((num_members * dim + 1, dim), np.float32)
    prior[:-1] = np.kron(np.asarray(start)[:, None], np.eye(dim))
    # A mean of unit vectors is shorter than 1: the cosine ignores it, squares do not.
    mean = x @ prior
    prior *= (mean * y).sum() / max((mean * mean).sum(), 1e-12)
    return x, y, prior


def _solver(x, residuals):
    if len(x) < x.shape[1]:
        # With few examples XX' is the smaller one, and gives the same.
        values, vectors = np.linalg.eigh(x @ x.T)
        projected, vectors = vectors.T @ residuals, x.T @ vectors
    else:
        values, vectors = np.linalg.eigh(x.T @ x)
        projected = vectors.T @ (x.T @ residuals)
    values = np.maximum(values, 0)

    def solve(penalty):
        shrunk = projected / (values + penalty * len(x))[:, None]
        return vectors @ shrunk

    return solve
