"""An index of training images by features, with their prompt embeddings."""

import dataclasses
import importlib.util
import logging
import math
import os
import pathlib
import shutil
import uuid
from collections.abc import Sequence

import numpy as np

from tf_prompt.data.vectors import (
    QUERIES_AT_ONCE,
    ROWS_AT_ONCE,
    join_blocks,
    map_array,
    nearest_rows,
    row_lengths,
    take_best,
    unit_rows,
)
from tf_prompt.files import read_json, write_json

SEARCHES = ("auto", "exact", "faiss")
# For this many rows of 256 numbers, on two cores, an index takes 12 s to build; then
# 1,000 queries take 2.4 s instead of 7.8 s. On well separated clusters recall is 1.
FAISS_ABOVE = 200_000
NUM_NEIGHBOURS = (1, 2, 4, 8, 16, 32, 64)
SHARPNESSES = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
_FEATURES, _EMBEDDINGS = "features.npy", "embeddings.npy"
_SETTINGS, _FAISS = "neighbours.json", "faiss.index"
# A faiss index stores float16 and may miss some rows; exact cosines choose among this
# many times the number of neighbours.
_CANDIDATES = 4
_HINT = 'Install it with: pip install "tf_prompt[search]"'


@dataclasses.dataclass(frozen=True)
class Settings:
    """How neighbours are averaged, and the resulting score.

    Args:
        k: number of neighbours.
        sharpness: see `NeighbourIndex`.
        cosine: mean cosine on the validation examples.
    """

    k: int
    sharpness: float
    cosine: float


class FeatureIndex:
    """Finds the rows with the highest cosine.

    Args:
        features: float `(rows, depth)`, vectors of any length; may be a memory map,
            which is not copied.
        search: `exact` compares with every row; `faiss` searches an inverted file of
            the library faiss, then compares exactly with the candidates; `auto`
            takes faiss above `FAISS_ABOVE` rows if it is installed.

    Raises:
        ValueError: for features that are not finite, an unknown search, or `faiss` if
            it is not installed.
    """

    def __init__(self, features, search="auto"):
        if search not in SEARCHES:
            raise ValueError(
                f"search must be one of {', '.join(SEARCHES)}. Received: {search}"
            )
        self.features = features
        self._lengths = row_lengths(features)
        self._faiss = _build_faiss(self) if _use_faiss(search, features) else None

    @property
    def is_exact(self) -> bool:
        """Whether every row is compared."""
        return self._faiss is None

    def search(self, queries, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the most similar rows.

        Args:
            queries: float `(queries, depth)`.
            k: int in 1-`rows`.

        Returns:
            rows: int64 `(queries, k)`, the most similar first.
            cosines: float32 `(queries, k)`.

            If faiss finds fewer than k candidates for a query, the nearest is repeated.

        Raises:
            ValueError: for an exact search, if k or the depth does not fit.
        """
        if self._faiss is None:
            return nearest_rows(queries, self.features, k, self._lengths)
        found = [
            self._search_faiss(unit_rows(queries[start : start + QUERIES_AT_ONCE]), k)
            for start in range(0, len(queries), QUERIES_AT_ONCE)
        ]
        return join_blocks(found, k)

    def _search_faiss(self, queries, k):
        _, found = self._faiss.search(queries, k * _CANDIDATES)
        # -1 fills a row that has too few candidates; the nearest is always there.
        found = np.where(found < 0, found[:, :1], found)
        cosines = np.empty(found.shape, np.float32)
        for i, rows in enumerate(found):
            candidates = np.asarray(self.features[rows], np.float32)
            cosines[i] = candidates @ queries[i] / self._lengths[rows]
        return take_best(found, cosines, k)


class NeighbourIndex(FeatureIndex):
    """Predicts an embedding from the most similar training images.

    The embeddings of the k rows with the highest cosine of features are averaged with
    weights `softmax(sharpness * cosine)`: a sharpness of 0 weights all k equally, a
    large one favours the nearest. The average is normalised.

    Args:
        features: float `(rows, depth)`, vectors of any length; may be a memory map,
            which is not copied.
        embeddings: float `(rows, dim)`, the prompt embedding of each row.
        k: int in 1-`rows`, number of neighbours.
        sharpness: float >= 0.
        search: `exact` compares with every row; `faiss` searches an inverted file of
            the library faiss, then compares exactly with the candidates; `auto`
            takes faiss above `FAISS_ABOVE` rows if it is installed.

    Raises:
        ValueError: for wrong shapes, numbers or names, features that are not finite,
            or `faiss` if it is not installed.
    """

    def __init__(self, features, embeddings, k=8, sharpness=20.0, search="auto"):
        _check(features, embeddings, k, sharpness)
        super().__init__(features, search)
        self.embeddings = embeddings
        self.k = k
        self.sharpness = sharpness

    def search(self, queries, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See `FeatureIndex`; if k is None, that of the constructor is used."""
        return super().search(queries, self.k if k is None else k)

    def predict(self, queries) -> np.ndarray:
        """Averages the embeddings of the nearest rows.

        Args:
            queries: float `(queries, depth)`.

        Returns:
            float32 `(queries, dim)`, rows of unit length.
        """
        rows, cosines = self.search(queries)
        return self._average(rows, cosines, self.sharpness)

    def _average(self, rows, cosines, sharpness):
        weights = np.exp(sharpness * (cosines - cosines.max(axis=1, keepdims=True)))
        weights /= weights.sum(axis=1, keepdims=True)
        result = np.zeros((len(rows), self.embeddings.shape[1]), np.float32)
        for neighbour, weight in zip(rows.T, weights.T, strict=True):
            result += weight[:, None] * unit_rows(self.embeddings[neighbour])
        # If opposite embeddings cancel, take the nearest one.
        lost = np.linalg.norm(result, axis=1) < 1e-6
        result[lost] = self.embeddings[rows[lost, 0]]
        return unit_rows(result)

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes the index as a folder of `.npy` files, replacing an earlier one.

        It is written under a temporary name and then renamed.
        """
        folder = pathlib.Path(folder)
        temporary = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
        temporary.mkdir(parents=True)
        try:
            np.save(temporary / _FEATURES, self.features, allow_pickle=False)
            np.save(temporary / _EMBEDDINGS, self.embeddings, allow_pickle=False)
            if self._faiss is not None:
                _import_faiss().write_index(self._faiss, os.fspath(temporary / _FAISS))
            settings = {"k": self.k, "sharpness": self.sharpness}
            write_json(temporary / _SETTINGS, settings)
            _swap(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> "NeighbourIndex":
        """Loads a saved index; features and embeddings are memory-mapped.

        Raises:
            FileNotFoundError: if the folder holds no index.
            ValueError: if a file is damaged, or needs faiss, which is not installed.
        """
        folder = pathlib.Path(folder)
        if not (folder / _SETTINGS).is_file():
            raise FileNotFoundError(
                f"folder must hold an index, with {_SETTINGS}. Received: {folder}"
            )
        settings = read_json(folder / _SETTINGS)
        features, embeddings = _map(folder / _FEATURES), _map(folder / _EMBEDDINGS)
        index = cls(features, embeddings, **settings, search="exact")
        if (folder / _FAISS).is_file():
            index._faiss = _import_faiss().read_index(os.fspath(folder / _FAISS))
        return index


def choose_settings(
    index: NeighbourIndex,
    queries,
    targets,
    ks: Sequence[int] = NUM_NEIGHBOURS,
    sharpnesses: Sequence[float] = SHARPNESSES,
) -> Settings:
    """Chooses k and sharpness on validation examples, and sets them in the index.

    Args:
        index: index of training images only, or every image would find itself.
        queries: float `(examples, depth)`, features of validation images.
        targets: float `(examples, dim)`, their true embeddings.
        ks: numbers of neighbours to try; those above the number of rows are ignored.
        sharpnesses: values to try.

    Returns:
        The settings with the highest mean cosine; among ties, those with the smallest
        k, then with the smallest sharpness.

    Raises:
        ValueError: if there are no values to try or no examples.
    """
    ks = sorted(k for k in ks if 1 <= k <= len(index.features))
    if not ks or not len(sharpnesses) or not len(queries):
        raise ValueError(
            "ks, sharpnesses and queries must not be empty. Received: "
            f"ks={ks}, sharpnesses={list(sharpnesses)}, {len(queries)} queries"
        )
    targets = unit_rows(targets)
    rows, cosines = index.search(queries, ks[-1])
    best = Settings(ks[0], min(sharpnesses), -math.inf)
    for k in ks:
        for sharpness in sorted(sharpnesses):
            found = index._average(rows[:, :k], cosines[:, :k], sharpness)
            score = float(np.einsum("bd,bd->b", found, targets).mean())
            # Rounding errors must not prefer 64 neighbours to 8.
            if score > best.cosine + 1e-7:
                best = Settings(k, sharpness, score)
    index.k, index.sharpness = best.k, best.sharpness
    return best


def _check(features, embeddings, k, sharpness):
    if features.ndim != 2 or embeddings.ndim != 2 or len(features) != len(embeddings):
        raise ValueError(
            "features and embeddings must be (rows, depth) and (rows, dim). "
            f"Received: {features.shape} and {embeddings.shape}"
        )
    if not 1 <= k <= len(features):
        raise ValueError(
            f"k must be between 1 and the number of rows, {len(features)}. "
            f"Received: {k}"
        )
    if not 0 <= sharpness < math.inf:
        raise ValueError(f"sharpness must not be negative. Received: {sharpness}")


def _use_faiss(search, features) -> bool:
    if search != "auto":
        return search == "faiss"
    if len(features) <= FAISS_ABOVE:
        return False
    if importlib.util.find_spec("faiss") is None:
        logging.getLogger(__name__).warning(
            "comparing with all of %d rows; faiss is faster. %s", len(features), _HINT
        )
        return False
    return True


def _import_faiss():
    try:
        import faiss
    except ImportError as error:
        raise ValueError(f"search by faiss needs an extra. {_HINT}") from error
    return faiss


def _build_faiss(index):
    faiss = _import_faiss()
    rows, depth = index.features.shape
    # More lists make the search faster, but k-means slower, which dominates the time to
    # build; one tenth of the lists is searched.
    num_lists = max(1, min(rows // 40, int(2 * math.sqrt(rows))))
    built = faiss.index_factory(
        depth, f"IVF{num_lists},SQfp16", faiss.METRIC_INNER_PRODUCT
    )
    built.nprobe = max(1, num_lists // 10)
    # Every n-th row: random rows would read a memory map all over.
    step = max(1, rows // (40 * num_lists))
    built.train(unit_rows(index.features[::step]))
    for first in range(0, rows, ROWS_AT_ONCE):
        built.add(unit_rows(index.features[first : first + ROWS_AT_ONCE]))
    return built


def _map(path):
    try:
        return map_array(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"an index must be intact. Received: {path}") from error


def _swap(temporary, folder):
    if not folder.exists():
        os.rename(temporary, folder)
        return
    old = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.old")
    os.rename(folder, old)
    os.rename(temporary, folder)
    shutil.rmtree(old)
