"""Differences between runs, with significance tests."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import tqdm

from tf_prompt.evaluation.prediction_log import families_of
from tf_prompt.evaluation.report.runs import Run
from tf_prompt.metrics import bleu, meteor
from tf_prompt.metrics.score import BY_FAMILY
from tf_prompt.metrics.significance import Difference, paired_bootstrap

METRICS = ("bleu", "meteor")
# Comparing two runs of 50,000 rows takes 17 s: METEOR's progress bar must move.
_ROWS_AT_ONCE = 1000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The comparison of two runs.

    Args:
        first, second: names of the runs.
        differences: dict from metric to the first run's score minus the second's.
        reason: why there are no differences; None if there are.
    """

    first: str
    second: str
    differences: dict[str, Difference]
    reason: str | None = None


def compare_runs(runs: Sequence[Run]) -> tuple[list[Comparison], dict[str, str]]:
    """Compares each pair of runs on their common test examples.

    Args:
        runs: at least one run.

    Returns:
        comparisons: list of one `Comparison` per pair, over families if the first
            run's rows have them.
        signatures: dict from metric to its signature.
    """
    examples = [_examples_of(run) for run in runs]
    synonyms = meteor.load_synonyms()
    signatures = {"bleu": bleu.signature(), "meteor": meteor.signature(synonyms)}
    if any(families_of(run.predictions) for run in runs):
        signatures = {n: f"{text}|{BY_FAMILY}" for n, text in signatures.items()}
    statistics: dict[int, dict[str, np.ndarray]] = {}
    comparisons = []
    pairs = list(itertools.combinations(range(len(runs)), 2))
    for pair in tqdm.tqdm(pairs, desc="comparing runs", unit="pair", delay=2):
        first, second = (runs[index] for index in pair)
        reason = _reason_against(first, second, *(examples[index] for index in pair))
        differences = {}
        if reason is None:
            for index in pair:
                if index not in statistics:
                    statistics[index] = _measure(runs[index], synonyms)
            families = families_of(_rows_of(first))
            differences = _differ(*(statistics[index] for index in pair), families)
        comparisons.append(Comparison(first.name, second.name, differences, reason))
    return comparisons, signatures


def _rows_of(run: Run) -> list[dict]:
    # The same order for all runs; equal rows keep the order of the file.
    return sorted(run.predictions, key=lambda r: (r["image_id"], r["reference"]))


def _examples_of(run: Run) -> list[tuple[str, str]]:
    return [(row["image_id"], row["reference"]) for row in _rows_of(run)]


def _reason_against(first: Run, second: Run, examples_a, examples_b) -> str | None:
    for run in (first, second):
        if not run.predictions:
            return f"not measured: {run.name} has no predictions of the test split"
    if examples_a != examples_b:
        return "not comparable: other examples"
    # All resamples of one example are equal: any difference would look significant.
    if len(examples_a) < 2:
        return "not measured: one example"
    families = families_of(_rows_of(first))
    one = families is not None and len(set(families)) < 2
    return "not measured: one family of prompts" if one else None


def _measure(run: Run, synonyms: meteor.Synonyms) -> dict[str, np.ndarray]:
    rows = _rows_of(run)
    references = [row["reference"] for row in rows]
    predictions = [row["prediction"] for row in rows]
    starts = range(0, len(rows), _ROWS_AT_ONCE)
    parts = [slice(start, start + _ROWS_AT_ONCE) for start in starts]
    return {
        "bleu": bleu.count_matches(references, predictions),
        "meteor": np.concatenate(
            [
                meteor.score_pairs(references[s], predictions[s], synonyms)
                for s in tqdm.tqdm(parts, f"METEOR of {run.name}", delay=2)
            ]
        ),
    }


def _differ(of_first, of_second, families) -> dict[str, Difference]:
    score_sums = {"bleu": bleu.score_sums, "meteor": None}
    return {
        name: paired_bootstrap(
            of_first[name], of_second[name], score_sums[name], families=families
        )
        for name in METRICS
    }
