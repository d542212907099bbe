"""Linear maps by ridge regression, with the penalty chosen on other examples."""

from collections.abc import Callable, Sequence

import numpy as np
import tqdm

from tf_prompt.data.vectors import unit_rows

# In units of the mean square of a feature times the number of examples.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
FINE_PENALTIES = 10 ** np.arange(-4, 4.1, 0.25)
NUM_FOLDS = 5
_ROWS_AT_ONCE = 4096


def fit_ridge(
    features, targets, validation_features, validation_targets
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a linear map, with the penalty that works best on other examples.

    Args:
        features: float `(examples, depth)`; may be a memory map, read block by block.
        targets: float `(examples, dim)`.
        validation_features: float `(others, depth)`.
        validation_targets: float `(others, dim)`.

    Returns:
        kernel: float32 `(depth, dim)`, for the penalty of `PENALTIES` with the highest
            mean cosine on the other examples.
        bias: float32 `(dim,)`.

    Reference: Hoerl and Kennard, 1970.
    """
    means = features.mean(axis=0, dtype=np.float64), targets.mean(axis=0)
    depth, dim = features.shape[1], targets.shape[1]
    gram, cross = np.zeros((depth, depth)), np.zeros((depth, dim))
    for start in range(0, len(features), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        x, y = features[block] - means[0], targets[block] - means[1]
        gram += x.T @ x
        cross += x.T @ y
    ridge = _Ridge(gram, cross, depth)
    wanted, best = unit_rows(validation_targets), None
    for penalty in PENALTIES:
        kernel = ridge.kernel(penalty)
        bias = means[1] - means[0] @ kernel
        found = unit_rows(validation_features @ kernel + bias)
        cosine = float(np.einsum("bd,bd->b", found, wanted).mean())
        if best is None or cosine > best[0]:
            best = cosine, kernel, bias
    return best[1].astype(np.float32), best[2].astype(np.float32)


def fit_ridge_by_family(
    features, read_targets: Callable[[slice], np.ndarray], families: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a linear map, with the penalty that works best on other families.

    The families are dealt into `NUM_FOLDS` folds. For each, a map fitted on the others
    is tested. Only sums of products are kept, so that no fold reads the examples again.

    Args:
        features: float `(examples, depth)`.
        read_targets: function from a slice of the examples to their targets, `(slice,
            dim)`.
        families: `(examples,)`, the family of each example.

    Returns:
        kernel: float32 `(depth, dim)`, for the penalty of `FINE_PENALTIES` with the
            smallest mean squared error.
        bias: float32 `(dim,)`.

    Raises:
        ValueError: if all examples are of one family.

    Reference: Hoerl and Kennard, 1970.
    """
    require_families(families)
    _, numbers = np.unique(families, return_inverse=True)
    depth, basis = features.shape[1], None
    if len(features) < depth:
        # With fewer examples than features, every solution lies in their span.
        features = np.asarray(features, np.float64)
        centred = features - features.mean(axis=0)
        basis = np.linalg.svd(centred, full_matrices=False)[2]
        features = features @ basis.T
    folds = _sum_folds(features, read_targets, numbers)
    whole = tuple(sum(parts) for parts in zip(*folds, strict=True))
    errors = np.zeros(len(FINE_PENALTIES))
    for held_out in tqdm.tqdm(folds, "penalty", unit="fold", delay=2):
        others = tuple(a - b for a, b in zip(whole, held_out, strict=True))
        means = _means_of(others)
        ridge = _Ridge(*_centre(others, *means)[:2], depth)
        errors += ridge.errors(*_centre(held_out, *means), FINE_PENALTIES)
    mean, target_mean = _means_of(whole)
    ridge = _Ridge(*_centre(whole, mean, target_mean)[:2], depth)
    kernel = ridge.kernel(FINE_PENALTIES[errors.argmin()])
    bias = target_mean - mean @ kernel
    kernel = kernel if basis is None else basis.T @ kernel
    return kernel.astype(np.float32), bias.astype(np.float32)


def require_families(families: Sequence[int]) -> None:
    """Checks that there are two families to fit on one and test on the other.

    Raises:
        ValueError: if there is one at most.
    """
    found = len(set(families))
    if found < 2:
        raise ValueError(
            f"training examples must be of at least two families. Received: {found}"
        )


class _Ridge:
    """Ridge regressions with any penalty, from sums of products of centred examples.

    Args:
        gram: `(width, width)`, of the features.
        cross: `(width, dim)`, of features and targets.
        depth: int, width of the features before they were projected.
    """

    def __init__(self, gram, cross, depth):
        self._values, self._vectors = np.linalg.eigh(gram)
        self._rotated = self._vectors.T @ cross
        self._scale = max(np.trace(gram) / depth, 1e-12)

    def kernel(self, penalty: float) -> np.ndarray:
        """Returns the map, `(width, dim)`."""
        shrunk = self._values + penalty * self._scale
        return self._vectors @ (self._rotated / shrunk[:, None])

    def errors(self, gram, cross, squares, penalties) -> np.ndarray:
        """Returns the sum of squared errors on other examples, `(penalties,)`.

        Args:
            gram, cross, squares: sums of products of these, less the same means.
            penalties: `(penalties,)`.
        """
        own, basis = self._rotated, self._vectors
        linear = ((basis.T @ cross) * own).sum(axis=1)
        quadratic = (basis.T @ gram @ basis) * (own @ own.T)
        shrink = 1 / (self._values + np.asarray(penalties)[:, None] * self._scale)
        explained = 2 * shrink @ linear - ((shrink @ quadratic) * shrink).sum(axis=1)
        return squares - explained


def _sum_folds(features, read_targets, numbers) -> list[tuple]:
    """Sums products of features and a one, of these and targets; squares of targets."""
    folds = [(0.0, 0.0, 0.0)] * min(NUM_FOLDS, numbers.max() + 1)
    for start in range(0, len(features), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        x = np.asarray(features[block], np.float64)
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        y = np.asarray(read_targets(block), np.float64)
        for fold, sums in enumerate(folds):
            own = numbers[block] % len(folds) == fold
            products = x[own].T @ x[own], x[own].T @ y[own], (y[own] ** 2).sum()
            folds[fold] = tuple(a + b for a, b in zip(sums, products, strict=True))
    return folds


def _means_of(sums) -> tuple[np.ndarray, np.ndarray]:
    gram, cross, _ = sums
    return gram[-1, :-1] / gram[-1, -1], cross[-1] / gram[-1, -1]


def _centre(sums, mean, target_mean) -> tuple[np.ndarray, np.ndarray, float]:
    """Sums of products as if means had been subtracted from features and targets."""
    gram, cross, squares = sums
    count, total, target_total = gram[-1, -1], gram[-1, :-1], cross[-1]
    both = np.outer(mean, total)
    gram = gram[:-1, :-1] - both - both.T + count * np.outer(mean, mean)
    cross = cross[:-1] - np.outer(mean, target_total)
    cross = cross - np.outer(total - count * mean, target_mean)
    squares = squares - 2 * target_mean @ target_total
    return gram, cross, squares + count * target_mean @ target_mean
