"""How close each true prompt is to the nearest prompt of the training split."""

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import tqdm

# Upper ends of the groups that scores are told apart by; the last has no end.
LIMITS = (0.3, 0.5, 0.7)


def closest_overlaps(prompts: Sequence[str], training: Iterable[str]) -> np.ndarray:
    """Returns the overlap of each prompt with the most similar training prompt.

    The overlap of two prompts is the Jaccard index of their sets of words: words in
    both over words in either. An inverted index, from each word to the training
    prompts with it, counts common words, so a prompt is never compared with all.

    Args:
        prompts: list of str, words joined by spaces.
        training: the training prompts; duplicates do not matter.

    Returns:
        float64 `(prompts,)` in 0-1; 1 if a training prompt has the same words.
    """
    sets = {frozenset(prompt.split()) for prompt in training}
    postings, sizes = _invert(sets)

    @functools.cache
    def closest(words: frozenset) -> float:
        found = [postings[word] for word in words if word in postings]
        if not found:
            return 0.0
        counts = np.bincount(np.concatenate(found))
        rows = np.flatnonzero(counts)
        common = counts[rows]
        return float((common / (len(words) + sizes[rows] - common)).max())

    bar = tqdm.tqdm(prompts, "seeking close training prompts", unit="prompt", delay=2)
    return np.array([closest(frozenset(prompt.split())) for prompt in bar])


def _invert(sets):
    """Returns the rows of each word, int32 arrays, and the row's number of words."""
    number: dict[str, int] = {}
    words = np.fromiter(
        (number.setdefault(word, len(number)) for s in sets for word in s), np.int32
    )
    sizes = np.fromiter((len(s) for s in sets), np.int32, len(sets))
    rows = np.repeat(np.arange(len(sets), dtype=np.int32), sizes)
    order = np.argsort(words, kind="stable")
    ends = np.cumsum(np.bincount(words, minlength=len(number)))
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    rows = rows[order]
    return {word: rows[starts[i] : ends[i]] for word, i in number.items()}, sizes


def group_by_overlap(overlaps: np.ndarray) -> dict[str, np.ndarray]:
    """Sorts examples by the overlap of the closest training prompt.

    Returns:
        dict from the name of a group, such as `below_0.3`, to the indices of its
        examples, int64, ascending. A group ends below one of `LIMITS`; the last is
        `from_0.7`.
    """
    places = np.searchsorted(LIMITS, overlaps, side="right")
    names = [*(f"below_{limit}" for limit in LIMITS), f"from_{LIMITS[-1]}"]
    return {name: np.flatnonzero(places == i) for i, name in enumerate(names)}
