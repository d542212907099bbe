"""Prompts as sets of words: their MinHash, and how many words two have in common."""

import array
import collections
import functools
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np

# Of 64 bits each, in which the words of a prompt are marked.
_LANES = 4
# Sets of one size whose words are looked up at once: these fit a processor's cache.
_SETS = 2**12
# Sets that were just measured; 2 kB each.
_SETS_KEPT = 2**15


class WordSets:
    """Sets of words as numbers.

    Args:
        prompts: words separated by spaces, at least one each.

    Attributes:
        hashes: uint64 `(words,)`, a random number for each word.
        sizes: int64 `(prompts,)`, words of each set.
    """

    def __init__(self, prompts: Sequence[str]):
        number_of = collections.defaultdict(itertools.count().__next__)
        # Not a list of sets, which takes ten times the memory.
        words, sizes = array.array("i"), array.array("i")
        for prompt in prompts:
            numbers = {*map(number_of.__getitem__, prompt.split())}
            words.extend(numbers)
            sizes.append(len(numbers))
        self._words, self.sizes = np.array(words), np.array(sizes, np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])
        # Of a large group each set is measured again and again.
        self._set_of = functools.lru_cache(_SETS_KEPT)(self._make_set)
        # Not Python's own, which differs from run to run.
        digests = [hashlib.blake2b(w.encode(), digest_size=8) for w in number_of]
        self.hashes = np.frombuffer(
            b"".join(digest.digest() for digest in digests), np.uint64
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def make_keys(self, factors: np.ndarray) -> np.ndarray:
        """Computes a number per set; similar sets probably have the same one.

        For each factor, the words' hashes are mixed anew, and the smallest of each set
        is taken; these minima are combined.

        Args:
            factors: uint64 `(times, 2)`, random; the first of each pair is odd.

        Returns:
            uint64 `(prompts,)`.
        """
        keys = np.zeros(len(self), np.uint64)
        mixed = [self._mix(factor, shift) for factor, shift in factors]
        for rows, words in self._blocks:
            of_block = np.zeros(len(rows), np.uint64)
            for numbers in mixed:
                of_block *= np.uint64(0x9E3779B97F4A7C15)
                of_block += numbers[words].min(axis=0)
                of_block ^= of_block >> np.uint64(29)
            keys[rows] = of_block
        return keys

    def take_bitmaps(self, order: np.ndarray) -> "Bitmaps":
        """Gives bitmaps of some sets, one after the other in memory."""
        return Bitmaps(self._lanes[:, order], self.sizes[order])

    def similarity(self, first: int, second: int) -> float:
        """Measures two sets: words in both over words in either."""
        one, other = self._set_of(first), self._set_of(second)
        common = len(one & other)
        return common / (len(one) + len(other) - common)

    def _make_set(self, number: int) -> set[int]:
        return set(
            self._words[self._starts[number] : self._starts[number + 1]].tolist()
        )

    def _mix(self, factor, shift) -> np.ndarray:
        mixed = self.hashes * factor + shift
        return (mixed >> np.uint64(32)).astype(np.uint32)

    @functools.cached_property
    def _blocks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Sets of one size: their numbers, and their words, `(words, sets)`.

        NumPy finds the minima of columns many at a time, those of pieces of an array
        one by one.
        """
        order = np.argsort(self.sizes, kind="stable")
        ends = np.flatnonzero(np.diff(self.sizes[order])) + 1
        blocks = []
        for of_size in np.split(order, ends):
            for start in range(0, len(of_size), _SETS):
                rows = of_size[start : start + _SETS]
                within = np.arange(self.sizes[rows[0]])[:, None]
                words = self._words[self._starts[rows] + within]
                # Of the type that NumPy looks up without converting it each time.
                blocks.append((rows, words.astype(np.intp)))
        return blocks

    @functools.cached_property
    def _lanes(self) -> np.ndarray:
        """Bits of the words of each set, uint64 `(lanes, prompts)`."""
        bits = np.uint64(1) << (self.hashes & np.uint64(63))
        lanes = (self.hashes >> np.uint64(6)) % np.uint64(_LANES)
        found = np.empty((_LANES, len(self)), np.uint64)
        for lane in range(_LANES):
            marks = np.where(lanes == lane, bits, np.uint64(0))[self._words]
            np.bitwise_or.reduceat(marks, self._starts[:-1], out=found[lane])
        return found


class Bitmaps:
    """Bits in which the words of some sets are marked.

    Args:
        lanes: uint64 `(lanes, sets)`.
        sizes: int `(sets,)`, words of each.
    """

    def __init__(self, lanes: np.ndarray, sizes: np.ndarray):
        self._lanes, self._sizes = lanes, sizes

    def may_share(self, first: np.ndarray, second: np.ndarray, jaccard: float):
        """Selects pairs that may be that similar, and hardly any others.

        A bit that only one set has stands for a word that only this set has.

        Args:
            first, second: int `(pairs,)`, places among the sets.
            jaccard: least similarity, 0-1.

        Returns:
            bool `(pairs,)`; no pair that is so similar is False.
        """
        sizes = self._sizes[first] + self._sizes[second]
        differing = sum(
            np.bitwise_count(lane[first] ^ lane[second]) for lane in self._lanes
        )
        # By the words of both; looked up, it costs no floats for each pair.
        most = (np.arange(sizes.max() + 1) * (1 - jaccard) + 1e-9) / (1 + jaccard)
        return differing <= most.astype(np.int32)[sizes]
