"""Groups of prompts that one split must take all of."""

import collections
from collections.abc import Iterable

import numpy as np


def join_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Groups linked texts, over any number of links.

    Returns:
        For each text that is linked with another, the first text of its group in
        alphabetical order. Others are absent.
    """
    pairs = list(pairs)
    parent = {text: text for pair in pairs for text in pair}
    for pair in pairs:
        first, second = sorted(find_root(parent, text) for text in pair)
        parent[second] = first
    roots = {text: find_root(parent, text) for text in parent}
    sizes = collections.Counter(roots.values())
    return {text: root for text, root in roots.items() if sizes[root] > 1}


def find_root(parent: dict | list | np.ndarray, node):
    """Follows links to the one that stands for a group, and shortens them.

    Args:
        parent: from each node to another of its group; from one of them to itself.
        node: where to begin.
    """
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def find_roots(parent: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """`find_root` of many numbers at once.

    Args:
        parent: int `(all,)`.
        nodes: int `(some,)`.

    Returns:
        int `(some,)`.
    """
    found = parent[nodes]
    while True:
        further = parent[found]
        if np.array_equal(further, found):
            # The next search is shorter.
            parent[nodes] = found
            return found
        found = further
