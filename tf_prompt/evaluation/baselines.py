"""What any captioner must beat: prompts chosen without reading the picture well."""

import collections
from collections.abc import Sequence

import numpy as np


def most_common(prompts: Sequence[str]) -> str:
    """The most frequent prompt; of equals, the first in alphabetical order."""
    counts = collections.Counter(prompts)
    return min(counts, key=lambda prompt: (-counts[prompt], prompt))


def random_prompts(prompts: Sequence[str], count: int) -> list[str]:
    """Draws training prompts, with replacement: right in kind, blind to pictures."""
    drawn = np.random.default_rng(0).integers(len(prompts), size=count)
    return [prompts[index] for index in drawn]


def shuffled_prompts(prompts: Sequence[str], seed: int = 0) -> list[str]:
    """Deals the true prompts of a split out to other pictures: the chance level.

    Args:
        prompts: true prompt of each picture.
        seed: int, of the dealing.

    Returns:
        The same prompts in another order. A picture gets its own prompt, or an
        equal one, only where one prompt has more than half of the pictures, and
        then as seldom as can be.
    """
    order = np.random.default_rng(seed).permutation(len(prompts)).tolist()
    place: dict[str, int] = {}
    for index in order:
        place.setdefault(prompts[index], len(place))
    # Equal prompts side by side: moved on by as many as the most frequent has,
    # each lands beyond its own kind.
    order.sort(key=lambda index: place[prompts[index]])
    step = max(collections.Counter(prompts).values())
    dealt = dict(zip(order, order[step:] + order[:step], strict=True))
    return [prompts[dealt[index]] for index in range(len(prompts))]
