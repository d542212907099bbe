"""All scores of a set of predictions, with intervals and signatures."""

import functools
import re
from collections.abc import Callable, Sequence

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

# Runs of letters and digits; any other sign by itself.
_PARTS = re.compile(r"\w+|[^\w\s]")

ScoreSums = Callable[[np.ndarray], np.ndarray]
Measured = tuple[np.ndarray, str, ScoreSums | None]


class _NotMeasured(Exception):
    """Says what a metric lacks on this machine."""


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
) -> dict[str, dict]:
    """Scores predictions by every metric that this machine can compute.

    Args:
        references: true prompts: normalised words joined by spaces, or raw.
        predictions: written prompts, in the order of `references`; may be empty.
        embedder: of the cosine; None loads the default one.
        scorer: of BERTScore; None loads the default one.
        metrics: names to compute, of `ALL_METRICS`.
        resamples: int > 0, bootstrap draws behind each interval.
        seed: int, of the draws.
        java_meteor: computes METEOR; None takes NLTK's.
        is_raw: whether texts are prompts as users write them. Each mark, such as a
            comma, then counts as a word, and upper case matters. Signatures say
            `text:raw`.

    Returns:
        For each name: `score`, `low` and `high`, the 95 % bootstrap interval, and
        `signature`. BLEU, METEOR and BERTScore F1 are in 0–100, the cosine in
        -1–1, CIDEr-D in 0–10. A metric that cannot be computed has None for the
        numbers and a signature "not measured: …" that says what to install.
        ROUGE-L, sacrebleu and BLEU-1 to 3 are in 0–100. One example has no
        interval: `low` and `high` are None.

    Raises:
        ValueError: if there is not one prediction for each reference, or a metric
            is unknown.
    """
    check_pairs(references, predictions)
    _check_names(metrics)
    measures = _measures(references, predictions, embedder, scorer, java_meteor, is_raw)
    scores = {}
    for name in metrics:
        try:
            statistics, signature, score_sums = measures[name]()
        except _NotMeasured as error:
            scores[name] = _absent(str(error))
            continue
        if is_raw:
            signature = f"{signature}|text:raw"
        scores[name] = summarise(statistics, signature, score_sums, resamples, seed)
    return scores


def _measures(
    references, predictions, embedder, scorer, java_meteor, is_raw
) -> dict[str, Callable[[], Measured]]:
    """What computes each metric; those that share work do it once."""
    bertscores = functools.cache(lambda: _bertscore(references, predictions, scorer))
    # What cuts texts at spaces alone gets marks apart.
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
    """Puts spaces around marks: "a castle, 8k" becomes "a castle , 8k"."""
    return " ".join(_PARTS.findall(text))


def _check_names(metrics: Sequence[str]) -> None:
    unknown = [name for name in metrics if name not in ALL_METRICS]
    if unknown:
        raise ValueError(
            f"metrics must be of {', '.join(ALL_METRICS)}. "
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
    # A word that is in every reference weighs log(1) = 0: even true prompts get 0.
    if len(set(references)) < 2:
        raise _NotMeasured("CIDEr-D needs 2 different true prompts")
    return cider.score_pairs(references, predictions), cider.signature(), None


def summarise(
    statistics: np.ndarray,
    signature: str,
    score_sums: ScoreSums | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict:
    """Makes one metric's entry of `metrics.json` from its examples.

    Args:
        statistics: `(examples,)` scores, or `(examples, columns)` counts.
        signature: what the number depends on.
        score_sums: from summed counts to a score; None takes the mean.
        resamples: int > 0, bootstrap draws.
        seed: int, of the draws.
    """
    if score_sums is None:
        value = float(np.mean(statistics))
    else:
        value = float(score_sums(statistics.sum(axis=0)))
    # Rounded: else equal examples give an interval beside their own mean, 1e-15 off.
    entry = {"score": round(value, 9), "low": None, "high": None}
    # Draws of one example are all equal; that says nothing of other examples.
    if len(statistics) > 1:
        low, high = bootstrap.interval(statistics, score_sums, resamples, seed)
        entry |= {"low": round(low, 9), "high": round(high, 9)}
    return {**entry, "signature": signature}


def _absent(reason: str) -> dict:
    signature = f"not measured: {reason}"
    return {"score": None, "low": None, "high": None, "signature": signature}
