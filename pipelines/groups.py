"""Groups of prompts that must stay in one split."""

import collections
from collections.abc import Iterable

import numpy as np


def join_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Groups linked texts, over any number of links.

    Returns:
        dict from each text that is linked with another to the first text of its group
        in alphabetical order.
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
    """Follows links to the root of a group, and shortens them.

    Args:
        parent: maps each node to another of its group, and the root to itself;
            changed.
        node: the node to start from.
    """
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def find_roots(parent: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Does the same as `find_root` for many numbers at once.

    Args:
        parent: int `(all,)`; changed.
        nodes: int `(some,)`.

    Returns:
        int `(some,)`.
    """
    found = parent[nodes]
    while True:
        further = parent[found]
        if np.array_equal(further, found):
            # Makes the next search shorter.
            parent[nodes] = found
            return found
        found = further
