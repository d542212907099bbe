"""Weights of an ensemble from validation examples, and what each choice measures."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tf_prompt.data.vectors import unit_rows
from tf_prompt.metrics import cosine

MAX_MEMBERS = 8
PENALTIES = tuple(10.0**e for e in np.arange(-4, 2.5, 0.5))
# Names of the rows that join members.
JOINED = ("uniform", "report", "simplex", "ridge")
# Grid points that the simplex search starts from are at most so many.
_MAX_GRID = 500
_EXAMPLES_AT_ONCE = 4096
_SMALLEST_STEP = 1e-6


@dataclasses.dataclass(frozen=True)
class Stacking:
    """A fitted ridge: what `Ensemble.set_stacking` takes.

    Args:
        kernel: float32 `(members * dim, dim)`.
        bias: float32 `(dim,)`.
        penalty: the chosen one, of `PENALTIES`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float


def stack(embeddings, stacking: Stacking) -> np.ndarray:
    """Applies a ridge: float32 `(examples, dim)` of unit length."""
    joined = unit_rows(embeddings).reshape(len(embeddings), -1)
    return unit_rows(joined @ stacking.kernel + stacking.bias)


def check_examples(embeddings, targets, members: Sequence[str] | None = None) -> None:
    """Checks what weights are fitted to.

    Args:
        embeddings: float `(examples, members, dim)` of 1-8 members.
        targets: float `(examples, dim)`.
        members: names of the members; None does not look at them.

    Raises:
        ValueError: for other shapes or numbers, or names that are not distinct.
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
        raise ValueError("embeddings and targets must be finite. Received: others")


def fit_simplex(embeddings, targets) -> np.ndarray:
    """Finds the weights of highest mean cosine.

    A grid over the simplex gives the start. From there, weight moves from one
    member to another wherever that gains most, by steps that halve when no move
    gains. Such moves point in every direction that a simplex has, its edges
    included, so that the search can only end where no small change gains; it needs
    no rate, and the same examples give the same weights. A gradient that multiplies
    weights could not leave, or would never quite reach, a weight of 0.

    Args:
        embeddings: float `(examples, members, dim)` of 1-8 members.
        targets: float `(examples, dim)`.

    Returns:
        float64 `(members,)`, not negative, summing to 1.

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
    """Mean cosine of weighted means, from products that know no dimension.

    With G the products of an example's members with each other and b those with
    its target, the cosine for weights w is b·w / sqrt(w·G·w).
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
        """Mean cosine of each row of weights, `(candidates,)`."""
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
    # Bars between stars: where num_members - 1 bars stand gives the shares.
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
    """Fits a matrix from all members' embeddings together to the target.

    The penalty draws the matrix towards the weighted mean of `start`, not towards
    zero: with few examples it then falls back on a good ensemble.

    Args:
        embeddings: float `(examples, members, dim)`.
        targets: float `(examples, dim)`.
        start: float `(members,)`, weights such as those of `fit_simplex`.
        penalties: to choose from, in units of the examples' number.
        folds: int in 2-`examples`, parts of cross-validation, which chooses the
            penalty of highest mean cosine on what was left out.
        seed: of the parts.

    Returns:
        The ridge with that penalty, fitted on all examples.

    Raises:
        ValueError: if shapes or folds do not fit.

    Reference: Hoerl and Kennard, 1970, ridge regression, in closed form by the
    eigenvectors of X'X; Breiman, 1996, stacked regressions.
    """
    check_examples(embeddings, targets)
    if not 2 <= folds <= len(embeddings):
        raise ValueError(
            f"folds must lie between 2 and the number of examples, {len(embeddings)}. "
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
    # The bias is a column like the others, so that it is drawn to 0 as well.
    x = np.concatenate([x, np.ones((num_examples, 1), np.float32)], axis=1)
    y = unit_rows(targets)
    prior = np.zeros((num_members * dim + 1, dim), np.float32)
    prior[:-1] = np.kron(np.asarray(start)[:, None], np.eye(dim))
    # A mean of unit vectors is shorter than 1; cosine does not see it, squares do.
    mean = x @ prior
    prior *= (mean * y).sum() / max((mean * mean).sum(), 1e-12)
    return x, y, prior


def _solver(x, residuals):
    values, vectors = np.linalg.eigh(x.T @ x)
    values = np.maximum(values, 0)
    projected = vectors.T @ (x.T @ residuals)

    def solve(penalty):
        shrunk = projected / (values + penalty * len(x))[:, None]
        return vectors @ shrunk

    return solve
