"""Linear maps by ridge regression, with the penalty chosen on other examples."""

from collections.abc import Callable, Iterator, Sequence

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
    values, vectors = np.linalg.eigh(gram)
    rotated, scale = vectors.T @ cross, max(np.trace(gram) / depth, 1e-12)
    wanted, best = unit_rows(validation_targets), None
    for penalty in PENALTIES:
        kernel = vectors @ (rotated / (values + penalty * scale)[:, None])
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
    is tested. Only sums of products are kept, so that the examples are read once.

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
    _, numbers = np.unique(families, return_inverse=True)
    if numbers.max(initial=0) < 1:
        raise ValueError(
            "training examples must be of at least two families. "
            f"Received: {numbers.max(initial=-1) + 1}"
        )
    depth, basis = features.shape[1], None
    if len(features) < depth:
        # Few examples span fewer dimensions, where all maps lie.
        features = np.asarray(features, np.float64)
        centred = features - features.mean(axis=0)
        basis = np.linalg.svd(centred, full_matrices=False)[2]
        features = features @ basis.T
    folds = _sum_folds(features, read_targets, numbers)
    gram, cross, _ = (sum(parts) for parts in zip(*folds, strict=True))
    errors = np.zeros(len(FINE_PENALTIES))
    for own_gram, own_cross, squares in tqdm.tqdm(
        folds, "penalty", unit="fold", delay=2
    ):
        fits = _solve(gram - own_gram, cross - own_cross, FINE_PENALTIES, depth)
        for i, fit in enumerate(fits):
            explained = 2 * (fit * own_cross).sum() - (fit * (own_gram @ fit)).sum()
            errors[i] += squares - explained
    penalty = FINE_PENALTIES[errors.argmin()]
    (fit,) = _solve(gram, cross, [penalty], depth)
    kernel = fit[:-1] if basis is None else basis.T @ fit[:-1]
    return kernel.astype(np.float32), fit[-1].astype(np.float32)


def _sum_folds(features, read_targets, numbers) -> list[list]:
    """Sums products of features with a one, of these and targets, and of targets."""
    folds = [[0.0, 0.0, 0.0] for _ in range(min(NUM_FOLDS, numbers.max() + 1))]
    for start in range(0, len(features), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        x = np.asarray(features[block], np.float64)
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        y = np.asarray(read_targets(block), np.float64)
        for fold, sums in enumerate(folds):
            own = numbers[block] % len(folds) == fold
            products = x[own].T @ x[own], x[own].T @ y[own], (y[own] ** 2).sum()
            for i, product in enumerate(products):
                sums[i] = sums[i] + product
    return folds


def _solve(gram, cross, penalties, depth) -> Iterator[np.ndarray]:
    """Yields kernel and bias, one array, for each penalty.

    Args:
        gram: `(width + 1, width + 1)`, sums of products of features and a one.
        cross: `(width + 1, dim)`, sums of products of these and targets.
        penalties: see `FINE_PENALTIES`.
        depth: int, number of the features before they were projected.
    """
    count = gram[-1, -1]
    mean, target_mean = gram[-1, :-1] / count, cross[-1] / count
    gram = gram[:-1, :-1] - count * np.outer(mean, mean)
    cross = cross[:-1] - count * np.outer(mean, target_mean)
    values, vectors = np.linalg.eigh(gram)
    rotated, scale = vectors.T @ cross, max(np.trace(gram) / depth, 1e-12)
    for penalty in penalties:
        kernel = vectors @ (rotated / (values + penalty * scale)[:, None])
        yield np.concatenate([kernel, (target_mean - mean @ kernel)[None]])
