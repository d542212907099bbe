"""Baselines that any captioner must beat: prompts chosen with little or no vision."""

import collections
from collections.abc import Sequence

import numpy as np


def most_common(prompts: Sequence[str]) -> str:
    """Returns the most frequent prompt; among ties, the first in alphabetical order."""
    counts = collections.Counter(prompts)
    return min(counts, key=lambda prompt: (-counts[prompt], prompt))


def random_prompts(prompts: Sequence[str], count: int) -> list[str]:
    """Draws training prompts with replacement, without regard to the images.

    Args:
        prompts: the training prompts.
        count: number of prompts to draw.
    """
    drawn = np.random.default_rng(0).integers(len(prompts), size=count)
    return [prompts[index] for index in drawn]


def shuffled_prompts(prompts: Sequence[str], seed: int = 0) -> list[str]:
    """Assigns the true prompts of a split to other images: the chance level.

    Args:
        prompts: true prompt of each image.
        seed: int, seed of the shuffle.

    Returns:
        The same prompts in another order. An image gets its own prompt, or an equal
        one, only if more than half of the images share one prompt, and then as rarely
        as possible.
    """
    order = np.random.default_rng(seed).permutation(len(prompts)).tolist()
    place: dict[str, int] = {}
    for index in order:
        place.setdefault(prompts[index], len(place))
    # With equal prompts side by side, a shift by the largest number of equal ones
    # moves each prompt past its own kind.
    order.sort(key=lambda index: place[prompts[index]])
    step = max(collections.Counter(prompts).values())
    dealt = dict(zip(order, order[step:] + order[:step], strict=True))
    return [prompts[dealt[index]] for index in range(len(prompts))]
