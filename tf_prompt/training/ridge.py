"""Linear maps by ridge regression, with the penalty chosen on other examples."""

import numpy as np

from tf_prompt.data.vectors import unit_rows

# In units of the mean square of a feature times the number of examples.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
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
