"""Groups and caps, determined from all rows before the first is converted."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import tqdm

from pipelines.cleaning import clean_prompt
from pipelines.damage import READ_ERRORS
from pipelines.diffusiondb.metadata import dropped_by
from pipelines.groups import join_pairs
from pipelines.image_hashes import group_hashes, hash_images
from pipelines.judging import judge_prompt
from pipelines.minhash import group_near_duplicates
from pipelines.options import WriteOptions, complete
from pipelines.parts import Part, Source
from pipelines.sources import open_options
from pipelines.words import join_words
from tf_prompt.data.text import MAX_WORDS


def open_planned(
    options: WriteOptions, processes: int = 1
) -> tuple[Source, WriteOptions]:
    """Opens a source, and plans it if the options require it.

    Args:
        options: options of a command.
        processes: number of processes.

    Returns:
        The source, and the options with all defaults filled in.

    Raises:
        FileNotFoundError: if there is no source.
        ValueError: if it fits no layout, or an extra is missing.
    """
    source = open_options(options)
    options = complete(options, source.is_curated)
    if needs_planning(source, options):
        source = PlannedSource(source, options, processes)
    return source, options


def needs_planning(source: Source, options: WriteOptions) -> bool:
    """Whether the rows of all parts must be read before one is converted.

    Args:
        source: the source.
        options: options of a command.
    """
    flags = (options.jaccard, options.group_families, options.max_per_prompt)
    return (
        any(flags)
        or options.group_near_duplicate_images
        or getattr(source, "shares_images", False)
    )


@dataclasses.dataclass
class _Rows:
    """Rows of all parts, as numbers.

    Args:
        prompts: distinct prompts, cleaned if wanted.
        numbers: for each part int32 `(rows,)`, numbers of prompts.
        kept: for each part bool `(rows,)`, False if a filter drops the row.
        images: for each image that several rows name, the numbers of its prompts.
    """

    prompts: Sequence[str]
    numbers: Sequence[np.ndarray]
    kept: Sequence[np.ndarray]
    images: Sequence[set[int]]


class PlannedSource:
    """A source whose rows contain decisions that depend on all rows.

    It adds those of these columns that are needed: `group`, the normalised prompt
    that represents the row's group, empty for a prompt without a group; `family`, the
    name of that group, which goes into the record; `over`, the cap that drops a row.
    They are part of the row, so that a part depends on nothing else and a restart sees
    whether they have changed.

    Args:
        source: the source to read.
        options: complete options, see `options.complete`.
        processes: number of processes.
    """

    def __init__(self, source: Source, options: WriteOptions, processes: int):
        self._source, self.name = source, source.name
        self.is_curated = source.is_curated
        rows = _read_rows(source, options)
        words = list(join_words(rows.prompts, processes, MAX_WORDS))
        pairs = [pair for found in rows.images for pair in _pair(found, words)]
        near: Mapping[str, str] = {}
        limits = [j for j in (options.jaccard, options.group_families) if j]
        if limits:
            near = group_near_duplicates(set(words), min(limits), processes)
            pairs += near.items()
        if options.group_near_duplicate_images:
            hashes = hash_images(source, options.max_pixels, processes)
            pairs += _pair_images(hashes, rows, words, options.near_duplicate_bits)
        self.groups = join_pairs(pairs)
        self._columns = _make_columns(rows, words, self.groups, options)
        self.notes = [*source.notes]
        if limits:
            self.notes.append(f"{len(near):,} prompts have near-duplicates")

    def __len__(self) -> int:
        return len(self._source)

    def parts(self) -> Iterator[Part]:
        """Yields the source's parts, with the added columns."""
        for part, columns in zip(self._source.parts(), self._columns, strict=True):
            yield part if columns.empty else part.with_columns(columns)


def _read_rows(source: Source, options: WriteOptions) -> _Rows:
    ids: dict[str, int] = {}
    numbers, kept, prompts_of = [], [], collections.defaultdict(set)
    for part in tqdm.tqdm(source.parts(), "reading prompts", len(source)):
        try:
            rows = part.read_rows()
        except READ_ERRORS:
            # The error is counted when the part is converted.
            rows = pd.DataFrame({"prompt": pd.Series(dtype=str)})
        prompts = rows["prompt"]
        if options.clean_prompts:
            prompts = prompts.map(clean_prompt)
        of_part = [ids.setdefault(prompt, len(ids)) for prompt in prompts]
        numbers.append(np.array(of_part, np.int32))
        kept.append(dropped_by(rows, options) == "")
        for image, number in zip(rows.get("image_number", ()), of_part, strict=False):
            prompts_of[image].add(number)
    return _Rows(list(ids), numbers, kept, list(prompts_of.values()))


def _pair(numbers: Iterable[int], words: Sequence[str]) -> Iterator[tuple[str, str]]:
    # A prompt without words becomes no record.
    first, *others = sorted({words[number] for number in numbers} - {""}) or [""]
    return ((first, other) for other in others)


def _pair_images(
    hashes: Sequence[np.ndarray], rows: _Rows, words: Sequence[str], most_bits: int
) -> Iterator[tuple[str, str]]:
    """Returns pairs of prompts whose images look the same."""
    pairs = zip(hashes, rows.numbers, strict=True)
    # A part that cannot be read has none.
    found = [(h, n) for h, n in pairs if len(h) == len(n)]
    if not found:
        return
    values, numbers = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    values, numbers = values[values != 0], numbers[values != 0]
    labels = group_hashes(values, most_bits)
    order = np.argsort(labels, kind="stable")
    ends = np.flatnonzero(np.diff(labels[order])) + 1
    for group in np.split(numbers[order], ends):
        if len(group) > 1:
            yield from _pair(group.tolist(), words)


def _make_columns(
    rows: _Rows,
    words: Sequence[str],
    groups: Mapping[str, str],
    options: WriteOptions,
) -> list[pd.DataFrame]:
    """Returns the columns to add to each part."""
    group_of = np.array([groups.get(found, "") for found in words], object)
    own = group_of.copy()
    own[group_of == ""] = np.array(words, object)[group_of == ""]
    family_of = np.array([name_family(text) for text in own], object)
    over = _find_over(rows, words, own, options)
    columns = []
    for numbers, of_part in zip(rows.numbers, over, strict=True):
        found = {}
        if groups or options.jaccard or options.group_families:
            found["group"] = group_of[numbers]
        if options.group_families:
            found["family"] = family_of[numbers]
        if options.max_per_prompt or options.max_per_family:
            found["over"] = of_part
        columns.append(pd.DataFrame(found))
    return columns


def name_family(prompt: str) -> str:
    """Names the family that a normalised prompt represents: 16 hexadecimal digits."""
    return hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest()


def _find_over(rows: _Rows, words, families, options) -> Iterator[list[str]]:
    """Yields, for each part, the cap that drops each row; the first rows are kept."""
    most_p, most_f = options.max_per_prompt, options.max_per_family
    wanted = [
        _is_wanted(*pair, options) for pair in zip(rows.prompts, words, strict=True)
    ]
    prompts, of_family = collections.Counter(), collections.Counter()
    for numbers, kept in zip(rows.numbers, rows.kept, strict=True):
        over = []
        for number, keep in zip(numbers.tolist(), kept.tolist(), strict=True):
            cause = ""
            if keep and wanted[number]:
                prompt, family = words[number], families[number]
                if most_p and prompts[prompt] >= most_p:
                    cause = "over_prompt"
                elif most_f and of_family[family] >= most_f:
                    cause = "over_family"
                else:
                    prompts[prompt] += 1
                    of_family[family] += 1
            over.append(cause)
        yield over


def _is_wanted(prompt: str, words: str, options: WriteOptions) -> bool:
    """Whether no filter drops a prompt, and it has words; as `convert` judges it."""
    return bool(words) and not judge_prompt(prompt, words.split(), options)
