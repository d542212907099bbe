"""Groups prompts that are almost the same, so that one split takes them all."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import tqdm

from pipelines.groups import find_root, join_pairs
from pipelines.sources import DiffusionDBSource, LooseSource, Part, open_source
from tf_prompt.data.text import normalise

try:
    import datasketch
except ImportError:
    datasketch = None

# 32 bands of 4 rows: a pair at the default limit of 0.7 shares a band with
# probability 1 - (1 - 0.7**4)**32 = 0.99985; candidates are then measured exactly.
BANDS, ROWS = 32, 4
_BLOCK = 10_000
# A row is measured against so many of its bucket. Prompts come in alphabetical
# order, and so the nearest first; without a limit the work would be quadratic.
_NEIGHBOURS = 1000


def open_grouped(path: str, jaccard: float | None):
    """Opens a source, its near-duplicates grouped if that is asked for.

    Args:
        path: as in `open_source`.
        jaccard: as in `GroupedSource`; None groups nothing.

    Raises:
        FileNotFoundError: if there is no source.
        ValueError: if it fits no layout, or cannot be grouped.
    """
    source = open_source(path)
    return source if jaccard is None else GroupedSource(source, jaccard)


class GroupedSource:
    """A source whose rows carry the group of near-duplicates that they are in.

    The column `group` holds the normalised prompt that speaks for the group, and
    nothing for a prompt that has no near-duplicate; it stands in the row, so that a
    part depends on nothing else and a restart sees whether its groups have changed.

    Args:
        source: what to read; its prompts must be known without its archives.
        jaccard: float in (0, 1]. Prompts whose sets of words are at least so
            similar are in one group, and so is what these are similar to.

    Raises:
        ValueError: if the source has no metadata, or an extra is missing.
    """

    def __init__(self, source: DiffusionDBSource | LooseSource, jaccard: float):
        self.source, self.name = source, source.name
        prompts, linked = set(), set()
        for part in tqdm.tqdm(source.parts(), "reading prompts", len(source)):
            if part.rows is None:
                raise ValueError(
                    "group_near_duplicates needs the metadata parquet. "
                    f"Received a source without: {part.name}"
                )
            prompts.update(part.rows["prompt"])
            if "group" in part.rows:
                linked.update(zip(part.rows["prompt"], part.rows["group"], strict=True))
        normal = {
            prompt: normalise(prompt) for prompt in tqdm.tqdm(prompts, "normalising")
        }
        near = group_near_duplicates(sorted(set(normal.values())), jaccard)
        of_pictures = [(normal[prompt], group) for prompt, group in linked if group]
        self.groups = join_pairs([*near.items(), *of_pictures])
        self._group_of = {
            prompt: self.groups[words]
            for prompt, words in normal.items()
            if words in self.groups
        }
        self.notes = [*source.notes, f"{len(near)} prompts have near-duplicates"]

    def __len__(self) -> int:
        return len(self.source)

    def parts(self) -> Iterator[Part]:
        """Gives the source's parts, each row with its group."""
        for part in self.source.parts():
            group = [self._group_of.get(prompt, "") for prompt in part.rows["prompt"]]
            yield dataclasses.replace(part, rows=part.rows.assign(group=group))


def group_near_duplicates(prompts: Iterable[str], jaccard: float) -> dict[str, str]:
    """Finds groups of prompts that share most of their words.

    Args:
        prompts: distinct normalised prompts, words separated by spaces.
        jaccard: float in (0, 1]. Least similarity of two neighbours in a group:
            words in both over words in either.

    Returns:
        For each prompt that has a near-duplicate, the first prompt of its group
        in alphabetical order. Others are absent.

    Raises:
        ValueError: if datasketch is not installed.

    Reference: Broder, 1997, "On the resemblance and containment of documents";
    Leskovec et al., "Mining of Massive Datasets", section 3.4.
    """
    if datasketch is None:
        raise ValueError(
            'group_near_duplicates needs an extra: pip install "tf_prompt[ingest]"'
        )
    prompts = [prompt for prompt in prompts if prompt]
    word_sets = [frozenset(prompt.split()) for prompt in prompts]
    parent = list(range(len(prompts)))
    for i, j in _find_candidates(word_sets):
        first, second = sorted((find_root(parent, i), find_root(parent, j)))
        if first != second and _similarity(word_sets[i], word_sets[j]) >= jaccard:
            parent[second] = first
    members = collections.defaultdict(list)
    for index in range(len(prompts)):
        members[find_root(parent, index)].append(prompts[index])
    return {
        prompt: min(group)
        for group in members.values()
        if len(group) > 1
        for prompt in group
    }


def _find_candidates(word_sets) -> Iterator[tuple[int, int]]:
    """Pairs of rows that agree in a whole band of their MinHash."""
    signatures = _sign(word_sets)
    for band in range(BANDS):
        rows = signatures[:, band * ROWS : (band + 1) * ROWS]
        keys = np.ascontiguousarray(rows).view([("", rows.dtype)] * ROWS).ravel()
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        bucket = []
        for here, row in zip([False, *same], order, strict=True):
            if not here:
                bucket = []
            # With each of the bucket, not its first alone: that one may be too far.
            yield from ((other, row) for other in bucket[-_NEIGHBOURS:])
            bucket.append(row)


def _sign(word_sets) -> np.ndarray:
    signatures = np.zeros((len(word_sets), BANDS * ROWS), np.uint32)
    starts = range(0, len(word_sets), _BLOCK)
    for start in tqdm.tqdm(starts, "grouping near-duplicates"):
        block = [
            [word.encode() for word in sorted(words)]
            for words in word_sets[start : start + _BLOCK]
        ]
        hashes = datasketch.MinHash.generator(block, num_perm=BANDS * ROWS, seed=1)
        for index, minhash in enumerate(hashes, start):
            signatures[index] = minhash.hashvalues
    return signatures


def _similarity(first: frozenset, second: frozenset) -> float:
    return len(first & second) / len(first | second)
