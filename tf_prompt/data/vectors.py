"""Vectors of unit length: exact nearest neighbours and weighted means."""

import pathlib
import tokenize
import warnings

import numpy as np

QUERIES_AT_ONCE, ROWS_AT_ONCE = 256, 16384


def combine(embeddings, weights) -> np.ndarray:
    """Computes the weighted mean of normalised embeddings.

    Args:
        embeddings: float `(examples, members, dim)`, vectors of any length.
        weights: float `(members,)`.

    Returns:
        float32 `(examples, dim)`, rows of unit length.
    """
    mean = np.einsum(
        "bmd,m->bd", unit_rows(embeddings), np.asarray(weights, np.float32)
    )
    return unit_rows(mean)


def nearest_rows(queries, rows, k: int, lengths=None) -> tuple[np.ndarray, np.ndarray]:
    """Finds the rows with the highest cosine, exactly, block by block.

    Memory holds one block of products, 16 MB, for any number of rows.

    Args:
        queries: float `(queries, depth)`, vectors of any length.
        rows: float `(rows, depth)`; may be a memory map.
        k: int in 1-`rows`.
        lengths: float `(rows,)`, lengths of the rows; None computes them.

    Returns:
        indices: int64 `(queries, k)`, the most similar first, ties by index. Among
            ties for the last place, any may be chosen.
        cosines: float32 `(queries, k)`.

    Raises:
        ValueError: if k or the widths do not fit.
    """
    if not 1 <= k <= len(rows):
        raise ValueError(
            f"k must be between 1 and the number of rows, {len(rows)}. Received: {k}"
        )
    if queries.ndim != 2 or queries.shape[1] != rows.shape[1]:
        raise ValueError(
            f"queries must be (queries, {rows.shape[1]}). Received: {queries.shape}"
        )
    lengths = row_lengths(rows) if lengths is None else lengths
    found = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        block = unit_rows(queries[start : start + QUERIES_AT_ONCE])
        indices = np.empty((len(block), 0), np.int64)
        cosines = np.empty((len(block), 0), np.float32)
        for first in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            products = block @ np.asarray(rows[part], np.float32).T / lengths[part]
            best = _largest(products, k)
            indices = np.concatenate([indices, best + first], axis=1)
            values = np.take_along_axis(products, best, axis=1)
            cosines = np.concatenate([cosines, values], axis=1)
            indices, cosines = take_best(indices, cosines, min(k, indices.shape[1]))
        found.append((indices, cosines))
    return join_blocks(found, k)


def unit_rows(rows) -> np.ndarray:
    """Normalises vectors along the last axis, as float32; zeros stay zeros."""
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def _largest(products, k):
    if products.shape[1] <= k:
        return np.broadcast_to(np.arange(products.shape[1]), products.shape)
    return np.argpartition(products, -k, axis=1)[:, -k:]


def take_best(indices, cosines, k):
    """Sorts candidates and keeps the best k.

    Args:
        indices: int `(queries, candidates)`.
        cosines: float `(queries, candidates)`.
        k: int > 0, number of candidates to keep.

    Returns:
        indices and cosines, `(queries, k)`, the highest cosine first, ties by index.
    """
    order = np.lexsort((indices, -cosines), axis=1)[:, :k]
    return (
        np.take_along_axis(indices, order, axis=1),
        np.take_along_axis(cosines, order, axis=1),
    )


def join_blocks(found, k):
    """Concatenates the results of blocks of queries.

    Args:
        found: list of indices and cosines, each `(queries, k)`; may be empty.
        k: int, their width.
    """
    if not found:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def row_lengths(rows):
    """Computes the lengths of rows block by block.

    Returns:
        float32 `(rows,)`, at least 1e-12.

    Raises:
        ValueError: if a row is not finite.
    """
    lengths = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.asarray(rows[first : first + ROWS_AT_ONCE], np.float32)
            lengths[first : first + len(part)] = np.linalg.norm(part, axis=1)
    if not np.isfinite(lengths).all():
        row = int(np.flatnonzero(~np.isfinite(lengths))[0])
        raise ValueError(f"features must be finite. Received: non-finite row {row}")
    return np.maximum(lengths, 1e-12)


def map_array(path: str | pathlib.Path) -> np.ndarray:
    """Memory-maps an `.npy` file of numbers; pickled objects are rejected.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is damaged.
    """
    try:
        # NumPy warns about headers written by Python 2.
        with warnings.catch_warnings(action="ignore"):
            return np.load(path, mmap_mode="r", allow_pickle=False)
    # The last three come from a header that is not Python.
    except (EOFError, TypeError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"an array file must be intact. Received: {path}") from error
