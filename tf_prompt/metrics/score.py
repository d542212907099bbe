"""All scores of a set of predictions, with intervals and signatures."""

import functools
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

# In the signature of a score whose interval draws families; else it draws examples.
BY_FAMILY = "bootstrap:families"

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
    families: Sequence[str] | None = None,
) -> dict[str, dict]:
    """Scores predictions by every metric that this machine can compute.

    Args:
        references: true prompts, normalised words joined by spaces.
        predictions: written prompts, in the order of `references`; may be empty.
        embedder: of the cosine; None loads the default one.
        scorer: of BERTScore; None loads the default one.
        metrics: names to compute, of `ALL_METRICS`.
        resamples: int > 0, bootstrap draws behind each interval.
        seed: int, of the draws.
        java_meteor: computes METEOR; None takes NLTK's.
        families: the name of each example's family, over which intervals are then;
            the signature says so. None takes examples.

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
    measured = measure(references, predictions, embedder, scorer, metrics, java_meteor)
    return summarise_all(measured, resamples, seed, families)


def measure(
    references: Sequence[str],
    predictions: Sequence[str],
    embedder: prompt_embedder.PromptEmbedder | None = None,
    scorer: bertscore.TokenScorer | None = None,
    metrics: Sequence[str] = METRICS,
    java_meteor: meteor_java.JavaMeteor | None = None,
) -> dict[str, Measured | str]:
    """Does the work of `score` for each example, before anything is added up.

    Returns:
        For each name the statistics of the examples, the signature, and what makes
        a score of summed statistics, as `summarise` takes them; or, of a metric
        that cannot be computed, why.

    Raises:
        ValueError: as `score`.
    """
    check_pairs(references, predictions)
    _check_names(metrics)
    measures = _measures(references, predictions, embedder, scorer, java_meteor)
    found: dict[str, Measured | str] = {}
    for name in metrics:
        try:
            found[name] = measures[name]()
        except _NotMeasured as error:
            found[name] = str(error)
    return found


def summarise_all(
    measured: Mapping[str, Measured | str],
    resamples: int = 1000,
    seed: int = 0,
    families: Sequence[str] | None = None,
    rows: np.ndarray | None = None,
) -> dict[str, dict]:
    """Makes what `score` returns of what `measure` found.

    Args:
        measured: of `measure`.
        resamples: int > 0, bootstrap draws.
        seed: int, of the draws.
        families: as in `score`, of all examples.
        rows: int `(some,)`, the examples that count, at least one; None takes all.
            What CIDEr-D knows of words comes from all.
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
    references, predictions, embedder, scorer, java_meteor
) -> dict[str, Callable[[], Measured]]:
    """What computes each metric; those that share work do it once."""
    bertscores = functools.cache(lambda: _bertscore(references, predictions, scorer))
    bleu_counts = functools.cache(lambda: bleu.count_matches(references, predictions))
    return {
        "bleu": lambda: _bleu(bleu_counts(), bleu.MAX_N),
        "bleu_1": lambda: _bleu(bleu_counts(), 1),
        "bleu_2": lambda: _bleu(bleu_counts(), 2),
        "bleu_3": lambda: _bleu(bleu_counts(), 3),
        "sacrebleu": lambda: _sacrebleu(references, predictions),
        "meteor": lambda: _meteor(references, predictions, java_meteor),
        "rouge_l": lambda: _rouge(references, predictions),
        "bertscore_precision": lambda: _column(bertscores(), 0),
        "bertscore_recall": lambda: _column(bertscores(), 1),
        "bertscore_f1": lambda: _column(bertscores(), 2),
        "cosine": lambda: _cosine(references, predictions, embedder),
        "cider_d": lambda: _cider(references, predictions),
    }


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
    families: Sequence[str] | None = None,
) -> dict:
    """Makes one metric's entry of `metrics.json` from its examples.

    Args:
        statistics: `(examples,)` scores, or `(examples, columns)` counts.
        signature: what the number depends on.
        score_sums: from summed counts to a score; None takes the mean.
        resamples: int > 0, bootstrap draws.
        seed: int, of the draws.
        families: as in `score`.
    """
    if score_sums is None:
        value = float(np.mean(statistics))
    else:
        value = float(score_sums(statistics.sum(axis=0)))
    # Rounded: else equal examples give an interval beside their own mean, 1e-15 off.
    entry = {"score": round(value, 9), "low": None, "high": None}
    if families is not None:
        signature = f"{signature}|{BY_FAMILY}"
    # Draws of one example, or family, are all equal; that says nothing of others.
    if len(statistics if families is None else set(families)) > 1:
        low, high = bootstrap.interval(
            statistics, score_sums, resamples, seed, families
        )
        entry |= {"low": round(low, 9), "high": round(high, 9)}
    return {**entry, "signature": signature}


def _absent(reason: str) -> dict:
    signature = f"not measured: {reason}"
    return {"score": None, "low": None, "high": None, "signature": signature}
