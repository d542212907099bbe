"""The Kaggle competition's metric: cosine of MiniLM prompt embeddings."""

from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs
from tf_prompt.metrics.prompt_embedder import PromptEmbedder, embed


def score_pairs(
    references: Sequence[str], predictions: Sequence[str], embedder: PromptEmbedder
) -> np.ndarray:
    """Computes the cosine of each prediction's embedding with its reference's.

    Empty predictions are embedded like any other text, as on Kaggle.

    Args:
        references: true prompts.
        predictions: predicted prompts, in the order of `references`.
        embedder: from `load_embedder`.

    Returns:
        float64 `(examples,)` in -1–1; the corpus score is the mean.

    Raises:
        ValueError: if there is not one prediction per reference.
    """
    check_pairs(references, predictions)
    vectors = embed([*references, *predictions], embedder)
    return cosines(vectors[: len(references)], vectors[len(references) :])


def cosines(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Computes cosines row by row.

    Args:
        references: float `(examples, dim)`, vectors of any length.
        predictions: float `(examples, dim)`.

    Returns:
        float64 `(examples,)` in -1–1; 0 if a vector is zero.

    Raises:
        ValueError: if the shapes differ, or there are no rows.
    """
    check_pairs(references, predictions)
    a = np.asarray(references, dtype=np.float64)
    b = np.asarray(predictions, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(
            f"embeddings must have one shape. Received: {a.shape} and {b.shape}"
        )
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.einsum("bd,bd->b", a, b)
    return np.clip(products / np.where(lengths > 0, lengths, 1), -1, 1)
