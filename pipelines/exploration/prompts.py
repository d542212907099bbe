"""One pass over the distinct prompts: lengths, duplicates, words, categories."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import tqdm

from pipelines.exploration.categories import SUBJECTS, find_categories
from pipelines.exploration.counts import TOP, PairCounter, pair
from pipelines.scripts import find_script
from pipelines.syntax import find_syntax
from pipelines.tally import ANY_SYNTAX
from pipelines.words import join_words
from tf_prompt.data.keywords import MEDIA, find_artists, index_keywords
from tf_prompt.data.text import MAX_WORDS

NUM_WORDS, NUM_DUPLICATES, NUM_ARTISTS = 100, 10, 25
# Maximum number of characters of an example; the longest prompts fill a page.
_MAX_EXAMPLE = 200


@dataclasses.dataclass
class Survey:
    """The results of the pass over the prompts.

    Args:
        before: int `(prompts,)`, number of images of each prompt.
        after: int `(prompts,)`, number of those that no filter drops.
        lengths: int `(prompts,)`, number of words before the cut.
        groups: int `(prompts,)`, equal for prompts that are equal once normalised.
    """

    before: np.ndarray
    after: np.ndarray
    lengths: np.ndarray
    groups: np.ndarray
    words: PairCounter = dataclasses.field(default_factory=PairCounter)
    subjects: PairCounter = dataclasses.field(default_factory=PairCounter)
    media: PairCounter = dataclasses.field(default_factory=PairCounter)
    artists: PairCounter = dataclasses.field(default_factory=PairCounter)
    scripts: PairCounter = dataclasses.field(default_factory=PairCounter)
    syntax: PairCounter = dataclasses.field(default_factory=PairCounter)


def survey_prompts(
    prompts: Sequence[str], before: np.ndarray, after: np.ndarray, processes: int
) -> Survey:
    """Applies the text rule to each distinct prompt, once.

    Args:
        prompts: distinct original prompts.
        before: int `(prompts,)`, number of images of each.
        after: int `(prompts,)`, number of those that no filter drops.
        processes: number of processes; 1 starts no child process.
    """
    lengths = np.zeros(len(prompts), np.int32)
    groups = np.zeros(len(prompts), np.int32)
    survey = Survey(before, after, lengths, groups)
    subject_of, medium_of = index_keywords(SUBJECTS), index_keywords(MEDIA)
    group_of: dict[bytes, int] = {}
    texts = join_words(prompts, processes)
    counts = zip(prompts, texts, before.tolist(), after.tolist(), strict=True)
    progress = tqdm.tqdm(counts, "prompts", len(prompts), unit=" prompts")
    for index, (prompt, text, *images) in enumerate(progress):
        words = text.split(" ") if text else []
        lengths[index] = len(words)
        # Digests take a tenth of the memory of two million prompts.
        normalised = " ".join(words[:MAX_WORDS]).encode()
        digest = hashlib.blake2b(normalised, digest_size=12).digest()
        groups[index] = group_of.setdefault(digest, len(group_of))
        survey.words.add(set(words), *images)
        survey.subjects.add(find_categories(words, subject_of), *images)
        survey.media.add(find_categories(words, medium_of), *images)
        survey.artists.add(find_artists(prompt), *images)
        survey.scripts.add((find_script(prompt),), *images)
        if found := find_syntax(prompt):
            survey.syntax.add((ANY_SYNTAX, *found), *images)
    return survey


def count_prompts(prompts: Sequence[str], survey: Survey) -> dict:
    """Counts distinct prompts and duplicates.

    Args:
        prompts: distinct original prompts.
        survey: from `survey_prompts`.

    Returns:
        dict of `raw` and `normalised`, numbers of distinct prompts; `without_words`,
        number of images whose prompt has no word; and `duplicates`, a dict of the
        number of `groups` of images with equal normalised prompts, the number of
        `images` in them, and the `biggest` groups, each with its most frequent
        `prompt`, the number of `spellings`, `before` and `after`.
    """
    before = np.bincount(survey.groups, survey.before).astype(int)
    after = np.bincount(survey.groups, survey.after).astype(int)
    wordless = survey.lengths == 0
    worded = np.ones(len(before), bool)
    # Prompts without words are equal once normalised, but not duplicates.
    worded[survey.groups[wordless]] = False
    repeated, kept = worded & (before > 1), worded & (after > 1)
    biggest = [g for g in np.argsort(-before, kind="stable") if repeated[g]]
    return {
        "raw": pair(len(prompts), (survey.after > 0).sum()),
        "normalised": pair(worded.sum(), (worded & (after > 0)).sum()),
        "without_words": pair(
            survey.before[wordless].sum(), survey.after[wordless].sum()
        ),
        "duplicates": {
            "groups": pair(repeated.sum(), kept.sum()),
            "images": pair(before[repeated].sum(), after[kept].sum()),
            "biggest": [
                {
                    **_describe_group(prompts, survey, group),
                    **pair(before[group], after[group]),
                }
                for group in biggest[:NUM_DUPLICATES]
            ],
        },
    }


def _describe_group(prompts: Sequence[str], survey: Survey, group: int) -> dict:
    members = np.flatnonzero(survey.groups == group)
    most = members[survey.before[members].argmax()]
    prompt = prompts[most]
    if len(prompt) > _MAX_EXAMPLE:
        prompt = prompt[: _MAX_EXAMPLE - 1] + "…"
    return {"prompt": prompt, "spellings": len(members)}


def count_lengths(survey: Survey) -> dict:
    """Counts the words of prompts before the cut, over images.

    Returns:
        dict of `max_words`, the cut; `cut`, number of images whose prompt is longer;
        `mean` and `median` number of words; and `images`, a list of `value` (words),
        `before` and `after`.
    """
    long = survey.lengths > MAX_WORDS
    before = np.bincount(survey.lengths, survey.before).astype(int)
    after = np.bincount(survey.lengths, survey.after).astype(int)
    return {
        "max_words": MAX_WORDS,
        "cut": pair(survey.before[long].sum(), survey.after[long].sum()),
        "mean": {"before": _mean(before), "after": _mean(after)},
        "median": {"before": _median(before), "after": _median(after)},
        "images": [
            {"value": int(words), **pair(before[words], after[words])}
            for words in np.flatnonzero(before)
        ],
    }


def _mean(counts: np.ndarray) -> float | None:
    total = counts.sum()
    return round(float(counts @ np.arange(len(counts)) / total), 2) if total else None


def _median(counts: np.ndarray) -> int | None:
    """Returns the median, the lower of two middle values."""
    total = counts.sum()
    if not total:
        return None
    return int(np.searchsorted(np.cumsum(counts), (total + 1) // 2))


def count_names(survey: Survey) -> dict:
    """Lists words, subjects and so on, by the number of images that have them.

    Returns:
        dict of `words`, a dict of `distinct` and `top`; `syntax`, a dict of `images`
        with any and `kinds`; and others, each a list of `value`, `before` and `after`.
    """
    words, syntax = survey.words, survey.syntax
    return {
        "words": {
            "distinct": pair(len(words.before), len(words.after)),
            "top": words.list_top(NUM_WORDS),
        },
        "subjects": survey.subjects.list_top(TOP),
        "media": survey.media.list_top(TOP),
        "artists": survey.artists.list_top(NUM_ARTISTS),
        "scripts": survey.scripts.list_top(TOP),
        "syntax": {
            "images": pair(syntax.before[ANY_SYNTAX], syntax.after[ANY_SYNTAX]),
            "kinds": [k for k in syntax.list_top(TOP) if k["value"] != ANY_SYNTAX],
        },
    }
