"""Words that a predicted prompt shares with the true one."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

_NONE = "–"


@dataclasses.dataclass(frozen=True)
class WordOverlap:
    """The words of two prompts, each flagged if the other prompt contains it.

    Args:
        reference_words: words of the true prompt, in order.
        prediction_words: words of the predicted prompt, in order.
        reference_flags: one bool per word of the reference, True if matched.
        prediction_flags: one bool per word of the prediction, True if matched.
    """

    reference_words: tuple[str, ...]
    prediction_words: tuple[str, ...]
    reference_flags: tuple[bool, ...]
    prediction_flags: tuple[bool, ...]

    @property
    def matched(self) -> tuple[str, ...]:
        """Common words, in the order of the reference."""
        return _select(self.reference_words, self.reference_flags, True)

    @property
    def missed(self) -> tuple[str, ...]:
        """Words only in the reference, in order."""
        return _select(self.reference_words, self.reference_flags, False)

    @property
    def added(self) -> tuple[str, ...]:
        """Words only in the prediction, in order."""
        return _select(self.prediction_words, self.prediction_flags, False)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0–100; 100 for two empty prompts."""
        words = len(self.reference_words) + len(self.prediction_words)
        return 200 * len(self.matched) / words if words else 100.0


def align_words(reference: str, prediction: str) -> WordOverlap:
    """Matches the words of two prompts as multisets.

    Order does not count: a prompt is a list of phrases, and text-to-image models care
    little about their order. Of a word that occurs more often in one prompt than in
    the other, the first occurrences are matched.

    Args:
        reference: true prompt, words joined by spaces.
        prediction: predicted prompt, words joined by spaces.

    Reference: the word F1 of Rajpurkar et al., 2016,
    https://arxiv.org/abs/1606.05250, section 6.1, which also drops articles.
    """
    true, written = reference.split(), prediction.split()
    common = collections.Counter(true) & collections.Counter(written)
    return WordOverlap(
        tuple(true), tuple(written), _flag(true, common), _flag(written, common)
    )


def explain(rows: Sequence[Mapping], count: int) -> str:
    """Formats examples from the best to the worst by word F1.

    The examples are evenly spaced in the ranking: three are the best, the middle and
    the worst one. Equal scores keep the order of `rows`.

    Args:
        rows: mappings with `image_id`, `reference` and `prediction`.
        count: int > 0, largest number of examples.

    Returns:
        For each example a title line and lines `true:`, `predicted:`, `matched:`,
        `missed:` and `added:`; a dash stands for no words.

    Raises:
        ValueError: if `count` is not positive, or there are no rows.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1. Received: {count}")
    if not rows:
        raise ValueError("rows must hold at least one example. Received: none")
    overlaps = [align_words(row["reference"], row["prediction"]) for row in rows]
    ranking = sorted(range(len(rows)), key=lambda i: -overlaps[i].f1)
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    blocks = []
    for place in places:
        index = ranking[place]
        name, overlap = rows[index]["image_id"], overlaps[index]
        title = f"{name}: word F1 {overlap.f1:.1f}, {place + 1} of {len(rows)}"
        blocks.append("\n".join([title, *_explain_lines(overlap)]))
    return "\n\n".join(blocks)


def _select(words, flags, wanted):
    return tuple(w for w, flag in zip(words, flags, strict=True) if flag is wanted)


def _flag(words, common) -> tuple[bool, ...]:
    left = common.copy()
    flags = []
    for word in words:
        flags.append(left[word] > 0)
        left[word] -= 1
    return tuple(flags)


def _explain_lines(overlap):
    for label, words, separator in (
        ("true", overlap.reference_words, " "),
        ("predicted", overlap.prediction_words, " "),
        ("matched", overlap.matched, ", "),
        ("missed", overlap.missed, ", "),
        ("added", overlap.added, ", "),
    ):
        yield f"{label + ':':11}{separator.join(words) or _NONE}"
