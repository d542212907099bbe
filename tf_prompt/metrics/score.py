"""All metrics of a set of predictions, with intervals and signatures."""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tf_prompt.metrics import (
    bertscore,
    bleu,
    bootstrap,
    cider,
    cosine,
    meteor,
    meteor_java,
    prompt_embedder,
    rouge,
    sacre,
)
from tf_prompt.metrics.pairs import check_pairs
from tf_prompt.metrics.significance import paired_bootstrap

METRICS = ("bleu", "meteor", "bertscore_f1", "cosine", "cider_d")
ALL_METRICS = (
    *METRICS,
    "bleu_1",
    "bleu_2",
    "bleu_3",
    "sacrebleu",
    "rouge_l",
    "bertscore_precision",
    "bertscore_recall",
)

# Runs of letters and digits, or any other single character.
_PARTS = re.compile(r"\w+|[^\w\s]")
# In the signature of a score whose interval draws families; else it draws examples.
BY_FAMILY = "bootstrap:families"

ScoreSums = Callable[[np.ndarray], np.ndarray]
Measured = tuple[np.ndarray, str, ScoreSums | None]


class _NotMeasured(Exception):
    """A metric cannot be computed on this machine; says what is missing."""


def score(
    references: Sequence[str],
    predictions: Sequence[str],
    embedder: prompt_embedder.PromptEmbedder | None = None,
    scorer: bertscore.TokenScorer | None = None,
    metrics: Sequence[str] = METRICS,
    resamples: int = 1000,
    seed: int = 0,
    java_meteor: meteor_java.JavaMeteor | None = None,
    is_raw: bool = False,
    families: Sequence[str] | None = None,
) -> dict[str, dict]:
    """Scores predictions, with a bootstrap interval and a signature for each metric.

    Args:
        references: true prompts: normalised words joined by spaces, or raw.
        predictions: predicted prompts, in the order of `references`, or empty strings.
        embedder, scorer: networks of the cosine and BERTScore; None loads the default.
        metrics: names from `ALL_METRICS`.
        resamples, seed: ints, bootstrap resamples per interval, and their seed.
        java_meteor: computes METEOR; None takes NLTK's.
        is_raw: whether each punctuation mark counts as a word, and case matters, as
            in prompts that users write; signatures then say `text:raw`.
        families: name of each example's family, for intervals over families.

    Returns:
        dict from name to `score`; `low` and `high`, the 95 % interval, None for one
        example; and `signature`. The cosine is in -1–1, CIDEr-D in 0–10, the others
        in 0–100. Without what a metric needs, the numbers are None and the signature,
        "not measured: …", says what to install.

    Raises:
        ValueError: if there is not one prediction per reference, or a metric is
            unknown.

    Example:

    >>> scores = tf_prompt.score(
    ...     references=["a red patch", "a blue sky"],
    ...     predictions=["a red patch", "a grey sky"],
    ...     metrics=["bleu_1", "rouge_l"],
    ... )
    >>> round(scores["bleu_1"]["score"], 1)
    83.3
    >>> scores["rouge_l"]["signature"]
    'rouge-l|f:1|stem:none|tok:split'
    """
    measured = measure(
        references, predictions, embedder, scorer, metrics, java_meteor, is_raw
    )
    return summarise_all(measured, resamples, seed, families)


def measure(
    references: Sequence[str],
    predictions: Sequence[str],
    embedder: prompt_embedder.PromptEmbedder | None = None,
    scorer: bertscore.TokenScorer | None = None,
    metrics: Sequence[str] = METRICS,
    java_meteor: meteor_java.JavaMeteor | None = None,
    is_raw: bool = False,
) -> dict[str, Measured | str]:
    """Computes the statistics of each example; `summarise_all` makes scores of them.

    All arguments are as in `score`.

    Returns:
        dict from metric to the statistics of the examples, the signature, and the
        function from summed statistics to a score, as `summarise` takes them; or to
        the reason, if the metric cannot be computed.

    Raises:
        ValueError: as `score`.
    """
    check_pairs(references, predictions)
    _check_names(metrics)
    measures = _measures(references, predictions, embedder, scorer, java_meteor, is_raw)
    found: dict[str, Measured | str] = {}
    for name in metrics:
        try:
            statistics, signature, score_sums = measures[name]()
        except _NotMeasured as error:
            found[name] = str(error)
            continue
        if is_raw:
            signature = f"{signature}|text:raw"
        found[name] = statistics, signature, score_sums
    return found


def summarise_all(
    measured: Mapping[str, Measured | str],
    resamples: int = 1000,
    seed: int = 0,
    families: Sequence[str] | None = None,
    rows: np.ndarray | None = None,
) -> dict[str, dict]:
    """Computes the scores from the statistics of `measure`.

    Args:
        measured: result of `measure`.
        resamples: int > 0, bootstrap resamples.
        seed: int, seed of the resamples.
        families: as in `score`, of all examples.
        rows: int `(some,)`, the examples that count, at least one; None takes all.
            CIDEr-D's word weights still come from all examples.

    Returns:
        As `score`.
    """
    if families is not None and rows is not None:
        families = [families[row] for row in rows]
    scores = {}
    for name, found in measured.items():
        if isinstance(found, str):
            scores[name] = _absent(found)
            continue
        statistics, signature, score_sums = found
        statistics = statistics if rows is None else statistics[rows]
        scores[name] = summarise(
            statistics, signature, score_sums, resamples, seed, families
        )
    return scores


def _measures(
    references, predictions, embedder, scorer, java_meteor, is_raw
) -> dict[str, Callable[[], Measured]]:
    """Functions that compute each metric; shared work is done once."""
    bertscores = functools.cache(lambda: _bertscore(references, predictions, scorer))
    # For metrics that split texts at spaces only.
    cut = (references, predictions)
    if is_raw:
        cut = tuple([part_marks(text) for text in texts] for texts in cut)
    bleu_counts = functools.cache(lambda: bleu.count_matches(*cut))
    return {
        "bleu": lambda: _bleu(bleu_counts(), bleu.MAX_N),
        "bleu_1": lambda: _bleu(bleu_counts(), 1),
        "bleu_2": lambda: _bleu(bleu_counts(), 2),
        "bleu_3": lambda: _bleu(bleu_counts(), 3),
        "sacrebleu": lambda: _sacrebleu(references, predictions),
        "meteor": lambda: _meteor(*cut, java_meteor),
        "rouge_l": lambda: _rouge(*cut),
        "bertscore_precision": lambda: _column(bertscores(), 0),
        "bertscore_recall": lambda: _column(bertscores(), 1),
        "bertscore_f1": lambda: _column(bertscores(), 2),
        "cosine": lambda: _cosine(references, predictions, embedder),
        "cider_d": lambda: _cider(*cut),
    }


def part_marks(text: str) -> str:
    """Puts spaces around punctuation: "a castle, 8k" becomes "a castle , 8k"."""
    return " ".join(_PARTS.findall(text))


def _check_names(metrics: Sequence[str]) -> None:
    unknown = [name for name in metrics if name not in ALL_METRICS]
    if unknown:
        raise ValueError(
            f"metrics must be among {', '.join(ALL_METRICS)}. "
            f"Received: {', '.join(unknown)}"
        )


def _bleu(counts, max_n) -> Measured:
    score_sums = functools.partial(bleu.score_sums, max_n=max_n)
    return counts, bleu.signature(max_n), score_sums


def _sacrebleu(references, predictions) -> Measured:
    try:
        counts = sacre.count_matches(references, predictions)
    except ImportError as error:
        raise _NotMeasured(str(error)) from error
    return counts, sacre.signature(), sacre.score_sums


def _rouge(references, predictions) -> Measured:
    return rouge.score_pairs(references, predictions), rouge.signature(), None


def _meteor(references, predictions, java_meteor) -> Measured:
    if java_meteor is not None:
        counts = java_meteor.count_matches(references, predictions)
        return counts, java_meteor.signature, meteor_java.score_sums
    synonyms = meteor.load_synonyms()
    scores = meteor.score_pairs(references, predictions, synonyms)
    return scores, meteor.signature(synonyms), None


def _bertscore(references, predictions, scorer) -> Measured:
    try:
        scorer = scorer or bertscore.load_scorer()
    except (ImportError, ValueError) as error:
        raise _NotMeasured(str(error)) from error
    scores = bertscore.score_pairs(references, predictions, scorer)
    return scores, bertscore.signature(scorer), None


def _column(measured: Measured, column: int) -> Measured:
    scores, signature, score_sums = measured
    return scores[:, column], signature, score_sums


def _cosine(references, predictions, embedder) -> Measured:
    try:
        embedder = embedder or prompt_embedder.load_embedder()
    except ValueError as error:
        raise _NotMeasured(str(error)) from error
    scores = cosine.score_pairs(references, predictions, embedder)
    return scores, prompt_embedder.signature(embedder), None


def _cider(references, predictions) -> Measured:
    # Words in every reference have weight log(1) = 0: even true prompts would get 0.
    if len(set(references)) < 2:
        raise _NotMeasured("CIDEr-D needs 2 different true prompts")
    return cider.score_pairs(references, predictions), cider.signature(), None


def summarise(
    statistics: np.ndarray,
    signature: str,
    score_sums: ScoreSums | None = None,
    resamples: int = 1000,
    seed: int = 0,
    families: Sequence[str] | None = None,
) -> dict:
    """Computes a metric's entry in `metrics.json` from the statistics of examples.

    Args:
        statistics: scores `(examples,)`, or counts `(examples, columns)`.
        signature: the metric's signature.
        score_sums: function from summed counts to a score; None takes the mean.
        resamples: int > 0, bootstrap resamples.
        seed: int, seed of the resamples.
        families: as in `score`.

    Returns:
        dict of `score`, `low`, `high` and `signature`.
    """
    if score_sums is None:
        value = float(np.mean(statistics))
    else:
        value = float(score_sums(statistics.sum(axis=0)))
    # Rounded, or equal examples would give an interval 1e-15 off their own mean.
    entry = {"score": round(value, 9), "low": None, "high": None}
    if families is not None:
        signature = f"{signature}|{BY_FAMILY}"
    # Resamples of one example, or family, are all equal, which says nothing.
    if len(statistics if families is None else set(families)) > 1:
        low, high = bootstrap.interval(
            statistics, score_sums, resamples, seed, families
        )
        entry |= {"low": round(low, 9), "high": round(high, 9)}
    return {**entry, "signature": signature}


def compare_all(
    measured: Mapping[str, Measured | str],
    others: Mapping[str, Measured | str],
    families: Sequence[str] | None = None,
) -> dict[str, dict]:
    """Compares two systems in each metric by a paired bootstrap.

    Args:
        measured: result of `measure` for the first system.
        others: the same for the second, with examples in the same order.
        families: as in `score`.

    Returns:
        dict from metric to a dict of the fields of `significance.Difference`, and
        `signature`. It lacks metrics that one of them has no scores of, and all
        metrics for one example, or one family: all their resamples are equal.
    """
    found, by = {}, "rows" if families is None else "families"
    for name, own in measured.items():
        if isinstance(own, str) or isinstance(others[name], str):
            continue
        statistics, signature, score_sums = own
        if len(statistics if families is None else set(families)) < 2:
            continue
        compared = paired_bootstrap(
            statistics, others[name][0], score_sums, families=families
        )
        signature = f"{signature}|paired bootstrap:{by}"
        found[name] = {**dataclasses.asdict(compared), "signature": signature}
    return found


def _absent(reason: str) -> dict:
    signature = f"not measured: {reason}"
    return {"score": None, "low": None, "high": None, "signature": signature}
