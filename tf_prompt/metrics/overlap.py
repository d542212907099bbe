"""Which words a written prompt shares with the true one, and examples of it."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

_NONE = "–"


@dataclasses.dataclass(frozen=True)
class WordOverlap:
    """Words of two prompts, each with whether the other prompt holds it too.

    Args:
        reference_words: words of the true prompt, in order.
        prediction_words: words of the written prompt, in order.
        reference_flags: one bool a word of the reference, True if matched.
        prediction_flags: one bool a word of the prediction, True if matched.
    """

    reference_words: tuple[str, ...]
    prediction_words: tuple[str, ...]
    reference_flags: tuple[bool, ...]
    prediction_flags: tuple[bool, ...]

    @property
    def matched(self) -> tuple[str, ...]:
        """Words in common, in the order of the reference."""
        return _select(self.reference_words, self.reference_flags, True)

    @property
    def missed(self) -> tuple[str, ...]:
        """Words of the reference alone, in order."""
        return _select(self.reference_words, self.reference_flags, False)

    @property
    def added(self) -> tuple[str, ...]:
        """Words of the prediction alone, in order."""
        return _select(self.prediction_words, self.prediction_flags, False)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0–100; 100 for two empty prompts."""
        words = len(self.reference_words) + len(self.prediction_words)
        return 200 * len(self.matched) / words if words else 100.0


def align_words(reference: str, prediction: str) -> WordOverlap:
    """Matches the words of two prompts as multisets.

    Order does not count: a prompt is a list of phrases, and models that read it
    care little which comes first. A word that stands k times in one prompt and
    fewer times in the other is matched at its first places.

    Args:
        reference: true prompt, words joined by spaces.
        prediction: written prompt, words joined by spaces.

    Reference: the word F1 of Rajpurkar et al., 2016,
    https://arxiv.org/abs/1606.05250, section 6.1; it also drops articles.
    """
    true, written = reference.split(), prediction.split()
    common = collections.Counter(true) & collections.Counter(written)
    return WordOverlap(
        tuple(true), tuple(written), _flag(true, common), _flag(written, common)
    )


def explain(rows: Sequence[Mapping], count: int) -> str:
    """Lays out examples from the best to the worst by word F1.

    The examples stand at equal distances in that ranking: with three they are the
    best, the middle and the worst. Equal scores keep the order of `rows`.

    Args:
        rows: mappings with `image_id`, `reference` and `prediction`.
        count: int > 0, examples at most.

    Returns:
        For each example a line that names it, then `true:`, `predicted:`,
        `matched:`, `missed:` and `added:`; a dash stands for no words.

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
