"""Compares single models and ensembles of them on the same examples."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from tf_prompt.data.vectors import combine
from tf_prompt.files import read_json
from tf_prompt.metrics import bootstrap, cosine
from tf_prompt.metrics.significance import paired_bootstrap
from tf_prompt.runs.json_options import from_json
from tf_prompt.training.ensemble_weights import (
    Stacking,
    check_examples,
    fit_ridge,
    fit_simplex,
    stack,
)

REPORT_WEIGHTS = {"clip_interrogator": 0.25, "vit_regressor": 0.75}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the comparison.

    Args:
        name: a member, or the method that combines members.
        kind: `single` or `ensemble`.
        weights: weights of the members; None if there are none.
        score: mean cosine on the measured examples.
        low, high: its 95 % bootstrap interval; None for one example.
        gain: score minus that of the best single model.
        gain_low, gain_high: 95 % paired bootstrap interval of the gain.
    """

    name: str
    kind: str
    weights: tuple[float, ...] | None
    score: float
    low: float | None
    high: float | None
    gain: float
    gain_low: float | None
    gain_high: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Single models and ensembles on the same examples.

    Args:
        members: names, in the order of the weights.
        best_single: the member with the highest score on the fitted examples.
        penalty: penalty of the ridge.
        num_fitted, num_measured: numbers of examples.
        rows: the rows of the table.
        stacking: the ridge; None if the comparison was read from a file.
    """

    members: tuple[str, ...]
    best_single: str
    penalty: float
    num_fitted: int
    num_measured: int
    rows: tuple[Row, ...]
    stacking: Stacking | None = dataclasses.field(default=None, repr=False)

    @property
    def simplex(self) -> tuple[float, ...]:
        """The weights of `fit_simplex`, in the order of the members."""
        return next(row.weights for row in self.rows if row.name == "simplex")


def compare(
    members: Sequence[str],
    embeddings,
    targets,
    measured: tuple | None = None,
    seed: int = 0,
) -> Comparison:
    """Measures single models and ensembles on examples that were not fitted to.

    Args:
        members: names, in the order of the embeddings.
        embeddings: float `(examples, members, dim)`, to fit on.
        targets: float `(examples, dim)`.
        measured: embeddings and targets of other examples, to measure on. None fits
            on a random half of the examples and measures on the other half.
        seed: int, seed of halves, folds and bootstrap.

    Returns:
        `Comparison` with a row for each member, the uniform mean, the report's
        weights if its two models are members, the weights of `fit_simplex`, and the
        ridge.

    Raises:
        ValueError: if shapes do not fit, or there are too few examples for halves.
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
        check_examples(*pair, members)
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
    """Returns the report's weights, 0.25 and 0.75; None without its two models.

    Args:
        members: names such as `vit_regressor_tiny`; other models get weight 0.
    """
    weights = np.zeros(len(members))
    for prefix, weight in REPORT_WEIGHTS.items():
        found = [i for i, name in enumerate(members) if name.startswith(prefix)]
        if not found:
            return None
        weights[found[0]] = weight
    return weights


def format_table(comparison: Comparison) -> str:
    """Formats a comparison as a table."""
    width = max(len(row.name) for row in comparison.rows) + 2
    brackets = "95 % intervals in brackets"
    if comparison.num_measured == 1:
        brackets = "no intervals for one example"
    lines = [
        f"mean cosine, {brackets}; fitted on {comparison.num_fitted} "
        f"examples, measured on {comparison.num_measured} others",
        f"{'':{width}}{'cosine':<26}{'above the best single':<28}weights",
    ]
    for row in comparison.rows:
        score, gain = f"{row.score:.4f}", f"{row.gain:+.4f}"
        if row.low is not None:
            score += f" [{row.low:.4f}, {row.high:.4f}]"
            gain += f" [{row.gain_low:+.4f}, {row.gain_high:+.4f}]"
        weights = " ".join(f"{weight:.3f}" for weight in row.weights or ())
        if row.name == "ridge":
            weights = f"a matrix, penalty {comparison.penalty:.3g}"
        lines.append(f"{row.name:{width}}{score:<26}{gain:<28}{weights}".rstrip())
    return "\n".join(lines)


def to_json(comparison: Comparison) -> dict:
    """Returns a comparison as a JSON-compatible dict, without the ridge's matrix."""
    fields = {f.name for f in dataclasses.fields(Comparison)} - {"rows", "stacking"}
    content = {name: getattr(comparison, name) for name in sorted(fields)}
    rows = [dataclasses.asdict(row) for row in comparison.rows]
    return {**content, "members": list(comparison.members), "rows": rows}


def read_comparison(path: pathlib.Path) -> Comparison:
    """Reads a file with the content of `to_json`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    content = read_json(path)
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"a comparison must have rows. Received: {path}")
    rows = [from_json(Row, row, path) for row in rows]
    return from_json(Comparison, {**content, "rows": rows}, path)


def _score(embeddings, targets, weights):
    return cosine.cosines(targets, combine(embeddings, weights))


def _row(name, is_single, weights, values, best, seed) -> Row:
    kind = "single" if is_single else "ensemble"
    score, gain = float(values.mean()), paired_bootstrap(values, best, seed=seed)
    if len(values) < 2:
        return Row(name, kind, weights, score, None, None, gain.difference, None, None)
    low, high = bootstrap.interval(values, seed=seed)
    gains = gain.difference, gain.low, gain.high
    return Row(name, kind, weights, score, low, high, *gains)
