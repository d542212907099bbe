"""Prompts as sets of words: their MinHash, and their similarity."""

import array
import collections
import functools
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np

# Number of integers of 64 bits in which the words of a prompt are marked.
_LANES = 4
# Number of sets whose words are looked up at once; these fit a processor's cache.
_SETS = 2**12
# Number of recently compared sets to keep; 2 kB each.
_SETS_KEPT = 2**15


class WordSets:
    """Sets of words as numbers.

    Args:
        prompts: words separated by spaces; each prompt has at least one.

    Attributes:
        hashes: uint64 `(words,)`, a random number for each word.
        sizes: int64 `(prompts,)`, number of words of each set.
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
        # In a large group each set is compared again and again.
        self._set_of = functools.lru_cache(_SETS_KEPT)(self._make_set)
        # Not Python's own hash, which differs from run to run.
        digests = [hashlib.blake2b(w.encode(), digest_size=8) for w in number_of]
        self.hashes = np.frombuffer(
            b"".join(digest.digest() for digest in digests), np.uint64
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def make_keys(self, factors: np.ndarray) -> np.ndarray:
        """Computes a number per set; similar sets probably have the same one.

        For each factor, the words' hashes are mixed again, and the minimum of each set
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
        """Returns the bitmaps of some sets, contiguous in memory.

        Args:
            order: int `(sets,)`, numbers of the sets.
        """
        return Bitmaps(self._lanes[:, order], self.sizes[order])

    def similarity(self, first: int, second: int) -> float:
        """Computes the Jaccard index of two sets: words in both over words in either.

        Args:
            first, second: numbers of the sets.
        """
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
                # The type with which NumPy indexes without a conversion.
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
    """Bitmaps in which the words of some sets are marked.

    Args:
        lanes: uint64 `(lanes, sets)`.
        sizes: int `(sets,)`, number of words of each set.
    """

    def __init__(self, lanes: np.ndarray, sizes: np.ndarray):
        self._lanes, self._sizes = lanes, sizes

    def may_share(self, first: np.ndarray, second: np.ndarray, jaccard: float):
        """Selects pairs that may be similar enough, and few others.

        A bit that only one set has stands for a word that only this set has.

        Args:
            first, second: int `(pairs,)`, places among the sets.
            jaccard: minimum similarity, 0-1.

        Returns:
            bool `(pairs,)`; True for every pair that is similar enough.
        """
        sizes = self._sizes[first] + self._sizes[second]
        differing = sum(
            np.bitwise_count(lane[first] ^ lane[second]) for lane in self._lanes
        )
        # By the number of words of both; a table avoids floats for each pair.
        most = (np.arange(sizes.max() + 1) * (1 - jaccard) + 1e-9) / (1 + jaccard)
        return differing <= most.astype(np.int32)[sizes]
