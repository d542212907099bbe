"""Weights of an ensemble from validation examples, and what each choice measures."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tf_prompt.metrics import bootstrap, cosine
from tf_prompt.metrics.significance import paired_bootstrap
from tf_prompt.neighbours import unit_rows

MAX_MEMBERS = 8
PENALTIES = tuple(10.0**e for e in np.arange(-4, 2.5, 0.5))
# Names of the rows that join members.
JOINED = ("uniform", "report", "simplex", "ridge")
REPORT_WEIGHTS = {"clip_interrogator": 0.25, "vit_regressor": 0.75}

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


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the comparison.

    Args:
        name: a member, or how members are joined.
        kind: `single` or `ensemble`.
        weights: of the members, None where there are none.
        score: mean cosine on the measured examples.
        low, high: its 95 % bootstrap interval.
        gain: score above that of the best single model.
        gain_low, gain_high: its 95 % interval, over the same draws for both.
    """

    name: str
    kind: str
    weights: tuple[float, ...] | None
    score: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Single models and ensembles on the same examples.

    Args:
        members: names, in the order of weights.
        best_single: the member that did best on the fitted examples.
        penalty: of the ridge.
        num_fitted, num_measured: examples of either part.
        rows: the table.
        stacking: the ridge.
    """

    members: tuple[str, ...]
    best_single: str
    penalty: float
    num_fitted: int
    num_measured: int
    rows: tuple[Row, ...]
    stacking: Stacking = dataclasses.field(repr=False)


def combine(embeddings, weights) -> np.ndarray:
    """Averages embeddings, each brought to unit length first.

    Args:
        embeddings: float `(examples, members, dim)`.
        weights: float `(members,)`.

    Returns:
        float32 `(examples, dim)` of unit length.
    """
    mean = np.einsum(
        "bmd,m->bd", unit_rows(embeddings), np.asarray(weights, np.float32)
    )
    return unit_rows(mean)


def stack(embeddings, stacking: Stacking) -> np.ndarray:
    """Applies a ridge: float32 `(examples, dim)` of unit length."""
    joined = unit_rows(embeddings).reshape(len(embeddings), -1)
    return unit_rows(joined @ stacking.kernel + stacking.bias)


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
    _check(embeddings, targets)
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
    _check(embeddings, targets)
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


def compare(
    members: Sequence[str],
    embeddings,
    targets,
    measured: tuple | None = None,
    seed: int = 0,
) -> Comparison:
    """Measures single models and ensembles on examples that fitted nothing.

    Args:
        members: names, in the order of the embeddings.
        embeddings: float `(examples, members, dim)`, to fit on.
        targets: float `(examples, dim)`.
        measured: embeddings and targets of other examples, to measure on. None
            fits on a random half of the given ones and measures on the rest.
        seed: of halves, folds and bootstrap.

    Returns:
        Rows: each member, the uniform mean, the report's weights where its two
        models are there, weights of `fit_simplex`, the ridge.

    Raises:
        ValueError: if shapes do not fit, or examples are too few for halves.
    """
    if measured is None:
        if len(embeddings) < 4:
            raise ValueError(
                f"comparing needs 4 examples or more. Received: {len(embeddings)}"
            )
        order = np.random.default_rng(seed).permutation(len(embeddings))
        first, second = np.array_split(order, 2)
        measured = embeddings[second], targets[second]
        embeddings, targets = embeddings[first], targets[first]
    for pair in ((embeddings, targets), measured):
        _check(*pair, members)
    simplex = fit_simplex(embeddings, targets)
    folds = min(5, len(embeddings))
    stacking = fit_ridge(embeddings, targets, simplex, folds=folds, seed=seed)
    count = len(members)
    weights = {name: np.eye(count)[i] for i, name in enumerate(members)}
    joined = {"uniform": np.full(count, 1 / count)}
    if (report := report_weights(members)) is not None:
        joined["report"] = report
    joined["simplex"] = simplex
    fitted = {n: _score(embeddings, targets, w).mean() for n, w in weights.items()}
    best = max(fitted, key=fitted.get)
    scores = {n: _score(*measured, w) for n, w in {**weights, **joined}.items()}
    scores["ridge"] = cosine.cosines(measured[1], stack(measured[0], stacking))
    given = {name: tuple(map(float, w)) for name, w in joined.items()}
    rows = tuple(
        _row(name, name in weights, given.get(name), values, scores[best], seed)
        for name, values in scores.items()
    )
    sizes = len(embeddings), len(measured[0])
    return Comparison(tuple(members), best, stacking.penalty, *sizes, rows, stacking)


def report_weights(members: Sequence[str]) -> np.ndarray | None:
    """Gives the report's 0.25 and 0.75; None unless its two models are there.

    Args:
        members: names such as `vit_regressor_tiny`; other models weigh 0.
    """
    weights = np.zeros(len(members))
    for prefix, weight in REPORT_WEIGHTS.items():
        found = [i for i, name in enumerate(members) if name.startswith(prefix)]
        if not found:
            return None
        weights[found[0]] = weight
    return weights


def format_table(comparison: Comparison) -> str:
    """Lays out a comparison for people."""
    width = max(len(row.name) for row in comparison.rows) + 2
    lines = [
        f"mean cosine, 95 % intervals in brackets; fitted on {comparison.num_fitted} "
        f"examples, measured on {comparison.num_measured} others",
        f"{'':{width}}{'cosine':<26}{'above the best single':<28}weights",
    ]
    for row in comparison.rows:
        score = f"{row.score:.4f} [{row.low:.4f}, {row.high:.4f}]"
        gain = f"{row.gain:+.4f} [{row.gain_low:+.4f}, {row.gain_high:+.4f}]"
        weights = " ".join(f"{weight:.3f}" for weight in row.weights or ())
        if row.name == "ridge":
            weights = f"a matrix, penalty {comparison.penalty:.3g}"
        lines.append(f"{row.name:{width}}{score:<26}{gain:<28}{weights}".rstrip())
    return "\n".join(lines)


def to_json(comparison: Comparison) -> dict:
    """Gives a comparison as what JSON can hold, without the ridge's matrix."""
    fields = {f.name for f in dataclasses.fields(Comparison)} - {"rows", "stacking"}
    content = {name: getattr(comparison, name) for name in sorted(fields)}
    rows = [dataclasses.asdict(row) for row in comparison.rows]
    return {**content, "members": list(comparison.members), "rows": rows}


def _score(embeddings, targets, weights):
    return cosine.cosines(targets, combine(embeddings, weights))


def _row(name, is_single, weights, values, best, seed) -> Row:
    low, high = bootstrap.interval(values, seed=seed)
    gain = paired_bootstrap(values, best, seed=seed)
    kind = "single" if is_single else "ensemble"
    score = float(values.mean())
    gains = gain.difference, gain.low, gain.high
    return Row(name, kind, weights, score, low, high, *gains)


def _check(embeddings, targets, members=None):
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
