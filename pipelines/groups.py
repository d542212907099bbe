"""Groups of prompts that one split must take all of."""

import collections
from collections.abc import Iterable, Sequence

from tf_prompt.data.text import normalise


def join_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Joins what is linked, over any number of links.

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


def find_root(parent: dict | list, node):
    """Follows links to the one that stands for a group, and shortens them.

    Args:
        parent: from each node to another of its group; from one of them to itself.
        node: where to begin.
    """
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def group_by_picture(
    pictures: Sequence[str], prompts: Sequence[str]
) -> tuple[list[str], int]:
    """Groups prompts that one picture has, so that no picture lies in two splits.

    Args:
        pictures: what names the picture of each row.
        prompts: the prompt of each row, as its user wrote it.

    Returns:
        For each row the normalised prompt that speaks for its group, or nothing;
        and the number of pictures with several prompts, as the text rule leaves
        them. If that is 0, no row has a group.
    """
    prompts_of = collections.defaultdict(set)
    for picture, prompt in zip(pictures, prompts, strict=True):
        prompts_of[picture].add(prompt)
    several = [found for found in prompts_of.values() if len(found) > 1]
    if not several:
        return [""] * len(pictures), 0
    normal = {prompt: normalise(prompt) for prompt in set(prompts)}
    pairs, num_pictures = [], 0
    for found in several:
        # A prompt without words becomes no record.
        first, *others = sorted({normal[prompt] for prompt in found} - {""}) or [""]
        pairs += [(first, other) for other in others]
        num_pictures += bool(others)
    groups = join_pairs(pairs)
    return [groups.get(normal[prompt], "") for prompt in prompts], num_pictures
