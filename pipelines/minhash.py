"""Groups prompts that share many of their words, without comparing all pairs.

MinHash: the smallest hash of a set's words is that of another set with a probability
that is their similarity. Prompts that agree in a whole band of such numbers are
measured exactly, and those that are similar enough are in one group, as is what these
are similar to.
"""

import concurrent.futures
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from pipelines.groups import find_root, find_roots

# Rows of a band and bands, from the similarity on. A pair at the limit of 0.7 shares a
# band with probability 1 - (1 - 0.7**4)**32 = 0.99985, one at 0.4 with
# 1 - (1 - 0.4**3)**100 = 0.9987.
_BANDS = ((0.6, 4, 32), (0.35, 3, 100), (0.0, 2, 100))
# A row is measured against so many of its band's bucket. Prompts come in alphabetical
# order, and so the nearest first; without a limit the work would be quadratic.
_NEIGHBOURS = 1000
# Pairs that are measured at once.
_BLOCK = 500_000
# Of 64 bits each, in which the words of a prompt are marked.
_LANES = 4


def group_near_duplicates(
    prompts: Sequence[str], jaccard: float, processes: int = 1
) -> dict[str, str]:
    """Finds groups of prompts that share most of their words.

    Args:
        prompts: distinct normalised prompts, words separated by spaces.
        jaccard: float in (0, 1]. Least similarity of two neighbours in a group:
            words in both over words in either.
        processes: threads that work at once.

    Returns:
        For each prompt that has a near-duplicate, the first prompt of its group
        in alphabetical order. Others are absent.

    Reference: Broder, 1997, "On the resemblance and containment of documents";
    Leskovec et al., "Mining of Massive Datasets", section 3.4.
    """
    prompts = sorted(prompt for prompt in prompts if prompt)
    if len(prompts) < 2:
        return {}
    sets = WordSets(prompts)
    roots = np.arange(len(prompts))
    for keys in _iterate_bands(sets, jaccard, processes):
        _link_bucket_mates(keys, sets, jaccard, roots)
    roots = find_roots(roots, np.arange(len(prompts)))
    sizes = np.bincount(roots, minlength=len(prompts))
    grouped = np.flatnonzero(sizes[roots] > 1)
    return {prompts[index]: prompts[roots[index]] for index in grouped}


class WordSets:
    """Sets of words as numbers, one after the other.

    Args:
        prompts: words separated by spaces, at least one each.

    Attributes:
        words: int32 `(uses,)`, numbers of words, in each set ascending.
        starts: int64 `(prompts + 1,)`, where each set begins, and where the last ends.
        hashes: uint64 `(words,)`, a random number for each word.
    """

    def __init__(self, prompts: Sequence[str]):
        number_of: dict[str, int] = {}
        sets = []
        for prompt in prompts:
            numbers = {number_of.setdefault(w, len(number_of)) for w in prompt.split()}
            sets.append(np.fromiter(sorted(numbers), np.int32, len(numbers)))
        self.sizes = np.fromiter(map(len, sets), np.int64, len(sets))
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self.words = np.concatenate(sets)
        # Not Python's own, which differs from run to run.
        digests = [hashlib.blake2b(w.encode(), digest_size=8) for w in number_of]
        self.hashes = np.frombuffer(
            b"".join(digest.digest() for digest in digests), np.uint64
        )

    def minima(self, factor: int, shift: int) -> np.ndarray:
        """The smallest number of each set, once each word's hash is mixed anew.

        Args:
            factor, shift: random 64-bit numbers; the factor is odd.

        Returns:
            uint32 `(prompts,)`.
        """
        mixed = self.hashes * np.uint64(factor) + np.uint64(shift)
        mixed = (mixed >> np.uint64(32)).astype(np.uint32)
        return np.minimum.reduceat(mixed[self.words], self.starts[:-1])

    def may_share(self, first: np.ndarray, second: np.ndarray, jaccard: float):
        """Tells pairs that can be as similar as that, and hardly any others.

        Words are dealt out to 256 bits. A bit of only one set is a word of only one.

        Args:
            first, second: int `(pairs,)`, numbers of prompts.
            jaccard: as in `group_near_duplicates`.

        Returns:
            bool `(pairs,)`; no pair that is so similar is False.
        """
        sizes = self.sizes[first] + self.sizes[second]
        differing = sum(
            np.bitwise_count(bits[first] ^ bits[second]) for bits in self._bitmaps
        )
        return differing * (1 + jaccard) <= sizes * (1 - jaccard) + 1e-9

    def similarity(self, first: int, second: int) -> float:
        """Measures two sets: words in both over words in either."""
        one, other = (
            set(self.words[self.starts[i] : self.starts[i + 1]].tolist())
            for i in (first, second)
        )
        return len(one & other) / len(one | other)

    @functools.cached_property
    def _bitmaps(self) -> list[np.ndarray]:
        bits = np.uint64(1) << (self.hashes & np.uint64(63))
        lanes = (self.hashes >> np.uint64(6)) % np.uint64(_LANES)
        return [
            np.bitwise_or.reduceat(
                np.where(lanes == lane, bits, np.uint64(0))[self.words],
                self.starts[:-1],
            )
            for lane in range(_LANES)
        ]


def _iterate_bands(
    sets: WordSets, jaccard: float, processes: int
) -> Iterator[np.ndarray]:
    """Gives for each band a number for each prompt, equal where the band is."""
    rows, bands = next((r, b) for least, r, b in _BANDS if jaccard >= least)
    draw = np.random.default_rng(1)
    factors = draw.integers(0, 2**63, (bands, rows, 2), np.uint64) * np.uint64(2)
    factors += np.uint64(1)

    def make_keys(band: int) -> np.ndarray:
        keys = np.zeros(len(sets.sizes), np.uint64)
        for factor, shift in factors[band]:
            keys = keys * np.uint64(0x9E3779B97F4A7C15) + sets.minima(factor, shift)
            keys ^= keys >> np.uint64(29)
        return keys

    # NumPy lets other threads work meanwhile.
    threads = max(1, min(processes, os.cpu_count() or 1))
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(make_keys, band) for band in range(min(threads, bands))]
        for band in tqdm.trange(bands, desc="grouping near-duplicates", leave=False):
            yield waiting.pop(0).result()
            if band + threads < bands:
                waiting.append(pool.submit(make_keys, band + threads))


def _link_bucket_mates(keys, sets: WordSets, jaccard: float, roots) -> None:
    """Joins the groups of prompts with one key that are similar enough."""
    order = np.argsort(keys, kind="stable")
    for step in range(1, _NEIGHBOURS + 1):
        # Now and then, since most of the work is in buckets that are one group soon.
        if step & (step - 1) == 0:
            order = _leave_out_groups(order, keys, roots)
        ranked = keys[order]
        here = np.flatnonzero(ranked[step:] == ranked[:-step])
        if not len(here):
            return
        for start in range(0, len(here), _BLOCK):
            block = here[start : start + _BLOCK]
            _link_pairs(order[block], order[block + step], sets, jaccard, roots)


def _leave_out_groups(order, keys, roots) -> np.ndarray:
    """Leaves out the buckets all of which is in one group."""
    if not len(order):
        return order
    ranked, labels = keys[order], find_roots(roots, order)
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    least = np.minimum.reduceat(labels, starts)
    is_mixed = least != np.maximum.reduceat(labels, starts)
    return order[np.repeat(is_mixed, np.diff([*starts, len(order)]))]


def _link_pairs(first, second, sets: WordSets, jaccard: float, roots) -> None:
    apart = find_roots(roots, first) != find_roots(roots, second)
    first, second = first[apart], second[apart]
    near = sets.may_share(first, second, jaccard)
    for i, j in zip(first[near].tolist(), second[near].tolist(), strict=True):
        one, other = sorted((find_root(roots, i), find_root(roots, j)))
        if one != other and sets.similarity(i, j) >= jaccard:
            roots[other] = one
