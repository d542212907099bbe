"""How near each true prompt is to the closest prompt of the training split."""

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import tqdm

# Upper ends of the groups that scores are told apart by; the last has no end.
LIMITS = (0.3, 0.5, 0.7)


def closest_overlaps(prompts: Sequence[str], training: Iterable[str]) -> np.ndarray:
    """Gives the overlap of each prompt with the training prompt most like it.

    The overlap of two prompts is that of their sets of words (Jaccard): words in
    both over words in either. An inverted index, from each word to the training
    prompts that hold it, counts the words in common: a prompt costs what its words
    are used in training, and never a comparison with all.

    Args:
        prompts: words joined by spaces.
        training: the same; of equal ones, one counts.

    Returns:
        float64 `(prompts,)` in 0-1; 1 where training holds the very words.
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
    """Gives rows by word, int32 arrays, and the number of words of each row."""
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
        From the name of a group, such as `below_0.3`, to its examples, int64 in
        order. The groups end at `LIMITS`, each limit itself in the next group; the
        last is `from_0.7`.
    """
    places = np.searchsorted(LIMITS, overlaps, side="right")
    names = [*(f"below_{limit}" for limit in LIMITS), f"from_{LIMITS[-1]}"]
    return {name: np.flatnonzero(places == i) for i, name in enumerate(names)}
