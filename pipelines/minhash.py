"""Groups prompts that share many of their words, without comparing all pairs.

MinHash: the probability that two sets have the same smallest hash equals their
similarity. If prompts agree in a whole band of such numbers, their similarity is
computed exactly. Those that are similar enough are put in one group, and so are all
prompts that are similar to one of the group.
"""

import concurrent.futures
import os
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from pipelines.groups import find_root, find_roots
from pipelines.word_sets import WordSets

# Rows of a band and bands, from the similarity on. A pair at the limit of 0.7 shares a
# band with probability 1 - (1 - 0.7**4)**32 = 0.99985, one at 0.4 with
# 1 - (1 - 0.4**3)**100 = 0.9987.
_BANDS = ((0.6, 4, 32), (0.35, 3, 100), (0.0, 2, 100))
# A row is compared with at most so many of its bucket, in alphabetical order and so the
# most similar first; without a limit the work would be quadratic.
_NEIGHBOURS = 1000
_STEPS = [range(2**n, min(2 ** (n + 1), _NEIGHBOURS + 1)) for n in range(10)]
# Number of pairs that are compared at once, so that they stay in the processor's cache.
_BLOCK = 2**15


def group_near_duplicates(
    prompts: Sequence[str], jaccard: float, processes: int = 1
) -> dict[str, str]:
    """Finds groups of prompts that share most of their words.

    Args:
        prompts: distinct normalised prompts, words separated by spaces.
        jaccard: float in (0, 1]. Minimum similarity of two neighbours in a group:
            words in both over words in either.
        processes: maximum number of threads.

    Returns:
        dict from each prompt that has a near-duplicate to the first prompt of its group
        in alphabetical order.

    Reference: Broder, 1997, "On the resemblance and containment of documents";
    Leskovec et al., "Mining of Massive Datasets", section 3.4.
    """
    prompts = sorted(prompt for prompt in prompts if prompt)
    if len(prompts) < 2:
        return {}
    links = _Links(WordSets(prompts), jaccard)
    bands = _draw_bands(jaccard)
    # Threads, because NumPy releases the interpreter's lock.
    threads = max(1, min(processes, os.cpu_count() or 1))
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        done = pool.map(links.add_band, bands)
        title = "grouping near-duplicates"
        for _ in tqdm.tqdm(done, title, len(bands), leave=False):
            pass
    roots = links.find_roots(np.arange(len(prompts)))
    sizes = np.bincount(roots, minlength=len(prompts))
    grouped = np.flatnonzero(sizes[roots] > 1)
    return {prompts[index]: prompts[roots[index]] for index in grouped}


def _draw_bands(jaccard: float) -> np.ndarray:
    """Draws the numbers with which hashes are mixed, uint64 `(bands, rows, 2)`."""
    rows, bands = next((r, b) for least, r, b in _BANDS if jaccard >= least)
    draw = np.random.default_rng(1)
    factors = draw.integers(0, 2**63, (bands, rows, 2), np.uint64) * np.uint64(2)
    return factors + np.uint64(1)


class _Links:
    """Links between prompts, added by several threads.

    A group is all that is linked directly or through others, in any order, so threads
    do not change the result.

    Args:
        sets: the prompts.
        jaccard: as in `group_near_duplicates`.
    """

    def __init__(self, sets: WordSets, jaccard: float):
        self._sets, self._jaccard = sets, jaccard
        self._roots = np.arange(len(sets))
        self._lock = threading.Lock()

    def find_roots(self, nodes: np.ndarray) -> np.ndarray:
        """Returns the first prompt of the group of each node."""
        with self._lock:
            return find_roots(self._roots, nodes)

    def add_band(self, factors: np.ndarray) -> None:
        """Links prompts that agree in a band and are similar enough.

        Args:
            factors: row of `_draw_bands` for this band.
        """
        keys = self._sets.make_keys(factors)
        order = _sort_stably(keys)
        for steps in _STEPS:
            # Now and then, because most of the work is in buckets that soon are one.
            order = self._leave_out(order, keys, steps[0])
            if not len(order):
                return
            bitmaps = self._sets.take_bitmaps(order)
            for first, second in _iterate_pairs(keys[order], steps):
                near = bitmaps.may_share(first, second, self._jaccard)
                if near.any():
                    self._link(order[first[near]], order[second[near]])

    def _leave_out(self, order, keys, step) -> np.ndarray:
        """Leaves out the buckets that are one group, or too small for a step."""
        if not len(order):
            return order
        ranked, labels = keys[order], self.find_roots(order)
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        sizes = np.diff(starts, append=len(order))
        least = np.minimum.reduceat(labels, starts)
        is_mixed = least != np.maximum.reduceat(labels, starts)
        return order[np.repeat(is_mixed & (sizes > step), sizes)]

    def _link(self, first, second) -> None:
        with self._lock:
            apart = find_roots(self._roots, first) != find_roots(self._roots, second)
            pairs = zip(first[apart].tolist(), second[apart].tolist(), strict=True)
            for i, j in pairs:
                ends = find_root(self._roots, i), find_root(self._roots, j)
                one, other = sorted(ends)
                if one != other and self._sets.similarity(i, j) >= self._jaccard:
                    self._roots[other] = one


def _iterate_pairs(
    ranked: np.ndarray, steps: Sequence[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the places of equal keys that are so many steps apart, in blocks.

    Args:
        ranked: sorted keys.
        steps: distances in the sorted keys, ascending.
    """
    here, found, count = np.arange(len(ranked)), [], 0
    for step in steps:
        here = here[: np.searchsorted(here, len(ranked) - step)]
        here = here[ranked[here] == ranked[here + step]]
        found.append((here, here + step))
        count += len(here)
        if count >= _BLOCK or step == steps[-1]:
            first, second = map(np.concatenate, zip(*found, strict=True))
            for start in range(0, count, _BLOCK):
                block = slice(start, start + _BLOCK)
                yield first[block], second[block]
            found, count = [], 0


def _sort_stably(keys: np.ndarray) -> np.ndarray:
    """Returns the order of keys; equal keys keep their order.

    Keys that differ only in their last bits may come in any order. Sorting numbers is
    ten times as fast as NumPy's `argsort`.
    """
    mask = np.uint64((1 << len(keys).bit_length()) - 1)
    placed = (keys & ~mask) | np.arange(len(keys), dtype=np.uint64)
    placed.sort()
    return (placed & mask).astype(np.int64)
