"""Scores of predictions and baselines, as numbers and as a table."""

import contextlib
import dataclasses
from collections.abc import Sequence

import numpy as np
import tqdm

from tf_prompt.data.text import normalise
from tf_prompt.evaluation import baselines
from tf_prompt.evaluation.prediction_log import families_of
from tf_prompt.metrics import (
    bertscore,
    closeness,
    cosine,
    health,
    prompt_embedder,
    score,
)
from tf_prompt.metrics.score import Measured, summarise_all

# BLEU's interval on 384 toy examples is 5 points wide; on 100 twice as wide.
FEW_EXAMPLES = 100
CHANCE = "shuffled"
# Results with a file of their own beside `metrics.json`: scores by overlap with the
# closest training prompt, in groups of `closeness.group_by_overlap`, and by source; a
# paired test of each metric against the nearest neighbour; `recognition.measure`.
OVERLAPS, SOURCES, AGAINST = "by_overlap", "by_source", "against_neighbour"
RECOGNITION = "recognition"
OWN_FILES = (OVERLAPS, SOURCES, AGAINST, RECOGNITION)
_NEIGHBOUR = "nearest_neighbour"


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Embeddings to compare predicted ones with.

    Args:
        targets: float32 `(examples, 384)`, of the true prompts.
        training: float32 `(training images, 384)`, of the training prompts.
    """

    targets: np.ndarray
    training: np.ndarray


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What scores are computed from.

    Args:
        rows: result of `prediction_log.write_rows`; if they have families, intervals
            are over families.
        measured: for `model` and each baseline, the result of `metrics.score.measure`.
        overlaps: float `(examples,)`, see `closeness.closest_overlaps`.
    """

    rows: Sequence[dict]
    measured: dict[str, dict[str, Measured | str]]
    overlaps: np.ndarray


def collect(
    rows: Sequence[dict],
    training_prompts: Sequence[str],
    metrics: Sequence[str],
    java_meteor=None,
    vectors: Vectors | None = None,
    is_raw: bool = False,
) -> Statistics:
    """Measures each example, with predictions and with baselines.

    Args:
        rows: as in `Statistics`.
        training_prompts: prompts of the whole training split; with `vectors`, the
            original ones.
        metrics: names from `metrics.score.ALL_METRICS`.
        java_meteor: computes METEOR and is closed afterwards; None takes NLTK's.
        vectors: if given, the cosine is that of the predicted embeddings, from the
            column `cosine`, not of the text.
        is_raw: whether texts are raw prompts, see `score.score`.

    Returns:
        `Statistics`. The baseline `shuffled` needs two different true prompts, or every
        image would get its own.
    """
    references = [row["reference"] for row in rows]
    predictions = [row["prediction"] for row in rows]
    written = _write_baselines(rows, training_prompts)
    cosines: dict[str, Measured] = {}
    of_texts = list(metrics)
    has_chance = len(set(references)) > 1
    if vectors is None:
        if has_chance:
            written[CHANCE] = baselines.shuffled_prompts(references)
    else:
        dealt = baselines.shuffled_prompts([str(i) for i in range(len(rows))])
        order = [int(index) for index in dealt] if has_chance else []
        if "cosine" in metrics:
            of_texts.remove("cosine")
            own = np.array([row["cosine"] for row in rows])
            cosines = _measure_vectors(own, written, order, vectors)
        written = {name: list(map(normalise, texts)) for name, texts in written.items()}
        training_prompts = list(map(normalise, training_prompts))
        if has_chance:
            written[CHANCE] = [references[index] for index in order]
    measured = _measure_texts(
        references, {"model": predictions, **written}, of_texts, java_meteor, is_raw
    )
    for name, value in cosines.items():
        measured.setdefault(name, {})["cosine"] = value
    texts = (references, training_prompts)
    if is_raw:
        texts = tuple(list(map(normalise, prompts)) for prompts in texts)
    return Statistics(rows, measured, closeness.closest_overlaps(*texts))


def pool(parts: Sequence[Statistics]) -> Statistics:
    """Joins the statistics of different examples.

    A baseline, or a metric, that a part lacks is left out, or not measured.

    Args:
        parts: at least one; each with the same metrics.
    """
    measured = {
        name: {
            metric: _join([part.measured[name][metric] for part in parts])
            for metric in found
        }
        for name, found in parts[0].measured.items()
        if all(name in part.measured for part in parts)
    }
    rows = [row for part in parts for row in part.rows]
    overlaps = np.concatenate([part.overlaps for part in parts])
    return Statistics(rows, measured, overlaps)


def _join(found: Sequence[Measured | str]) -> Measured | str:
    for reason in found:
        if isinstance(reason, str):
            return reason
    statistics, signatures, functions = zip(*found, strict=True)
    return np.concatenate(statistics), signatures[0], functions[0]


def summarise(found: Statistics) -> dict:
    """Computes scores.

    Args:
        found: result of `collect` or `pool`.

    Returns:
        The content of `metrics.json`, and under the names in `OWN_FILES` the content of
        these.
    """
    rows, measured = found.rows, found.measured
    references, predictions, ended = (
        [row[name] for row in rows] for name in ("reference", "prediction", "ended")
    )
    families = families_of(rows)
    by_overlap = closeness.group_by_overlap(found.overlaps)
    return {
        "examples": len(rows),
        **({} if families is None else {"families": len(set(families))}),
        **_summarise(measured, families),
        "health": health.measure_health(references, predictions, ended),
        AGAINST: score.compare_all(measured["model"], measured[_NEIGHBOUR], families),
        OVERLAPS: _by_group(by_overlap, measured, families),
        SOURCES: _by_group(_group_by_source(rows), measured, families),
    }


def _summarise(measured, families, rows=None) -> dict:
    scores = {
        name: summarise_all(found, families=families, rows=rows)
        for name, found in measured.items()
    }
    return {"metrics": scores.pop("model"), "baselines": scores}


def _by_group(groups, measured, families) -> dict[str, dict]:
    """All scores of each group, from name to examples."""
    return {
        name: {
            "examples": len(rows),
            **(_summarise(measured, families, rows) if len(rows) else {}),
        }
        for name, rows in groups.items()
    }


def _group_by_source(rows) -> dict[str, np.ndarray]:
    """The examples of each source; none where rows name no source."""
    sources = np.array([row.get("source", "") for row in rows], object)
    return {
        name or "unknown": np.flatnonzero(sources == name)
        for name in sorted(set(sources))
        if any(sources)
    }


def _write_baselines(rows, training_prompts) -> dict[str, list[str]]:
    """Returns the baselines that do not use the true prompts."""
    return {
        "most_common": [baselines.most_common(training_prompts)] * len(rows),
        _NEIGHBOUR: [row[_NEIGHBOUR] for row in rows],
        "random_training": baselines.random_prompts(training_prompts, len(rows)),
    }


def _measure_texts(
    references, written, metrics, java_meteor, is_raw
) -> dict[str, dict]:
    if not metrics:
        return {name: {} for name in written}
    options = {**load_models(metrics), "java_meteor": java_meteor, "is_raw": is_raw}
    with java_meteor or contextlib.nullcontext():
        return {
            name: score.measure(references, texts, metrics=metrics, **options)
            for name, texts in tqdm.tqdm(written.items(), "scoring", unit="set")
        }


def _measure_vectors(own, written, order, vectors: Vectors) -> dict[str, Measured]:
    """Cosines with the targets, of the model and of each baseline.

    With an empty `order` there is no chance level.
    """
    embedder = prompt_embedder.load_embedder()
    found = {
        name: prompt_embedder.embed(texts, embedder) for name, texts in written.items()
    }
    if order:
        found[CHANCE] = vectors.targets[order]
    found["mean_embedding"] = np.tile(vectors.training.mean(axis=0), (len(own), 1))
    cosines = {name: cosine.cosines(vectors.targets, v) for name, v in found.items()}
    signature = prompt_embedder.signature(embedder)
    return {
        name: (values, signature, None)
        for name, values in {"model": own, **cosines}.items()
    }


def load_models(metrics) -> dict:
    """Loads the metrics' networks once for all predictions, since each takes seconds.

    Args:
        metrics: names from `metrics.score.ALL_METRICS`.

    Returns:
        dict of `embedder` and `scorer`, for `metrics.score.measure`.
    """
    with_bertscore = any(name.startswith("bertscore") for name in metrics)
    embedder = _load(prompt_embedder.load_embedder) if "cosine" in metrics else None
    if embedder is not None:
        # All sets share the references, and some of them share prompts.
        embedder = dataclasses.replace(embedder, vectors={})
    scorer = _load(bertscore.load_scorer) if with_bertscore else None
    return {"embedder": embedder, "scorer": scorer}


def _load(loader):
    # Without it `score` reports what is missing, and still computes the others.
    try:
        return loader()
    except (ImportError, ValueError):
        return None


def format_metrics(metrics: dict) -> str:
    """Formats `metrics.json` as a table: scores, baselines, health."""
    examples = metrics["examples"]
    over = "examples"
    if "families" in metrics:
        over = f"its {metrics['families']} families of prompts"
    lines = [
        f"{examples} examples, 95 % intervals of the model over {over} in brackets"
    ]
    if examples == 1:
        lines = ["only 1 example: no intervals, which need several; scores are luck"]
    elif examples < FEW_EXAMPLES:
        lines.append(
            f"only {examples} examples: the intervals are wide, and a baseline that "
            "repeats a frequent prompt may look good by luck"
        )
    if CHANCE not in metrics["baselines"]:
        lines.append(f"no chance level ({CHANCE}): it needs 2 different true prompts")
    names = [*metrics["metrics"], *metrics["health"]]
    indent = max(len(name) for name in names) + 2
    columns = "".join(f"{name:>{len(name) + 2}}" for name in metrics["baselines"])
    lines.append(f"{'':{indent}}{'model':>24}{columns}")
    for name, value in metrics["metrics"].items():
        digits = 4 if name == "cosine" else 2
        line = f"{name:{indent}}{_format_score(value, digits, with_interval=True):>24}"
        for baseline, scores in metrics["baselines"].items():
            cell = _format_score(scores.get(name), digits)
            line += f"{cell:>{len(baseline) + 2}}"
        lines.append(line)
    for name, value in metrics["health"].items():
        text = "unmeasured" if value is None else f"{value:.3f}"
        lines.append(f"{name:{indent}}{text:>24}")
    lines += [f"{name}: {v['signature']}" for name, v in metrics["metrics"].items()]
    lines += _format_against(metrics)
    for name, (title, heading) in _GROUPS.items():
        lines += _format_groups(metrics, metrics.get(name, {}), title, heading)
    return "\n".join(lines)


# Metrics to show for each group; all metrics would fill screens.
_SHOWN = ("bleu", "meteor", "cosine")


def _format_against(metrics) -> list[str]:
    """Lines of the paired test against the nearest neighbour."""
    lines = []
    for name, found in metrics.get(AGAINST, {}).items():
        if name in _SHOWN:
            digits = 4 if name == "cosine" else 2
            lines.append(format_difference(name, found, "nearest neighbour", digits))
    return lines


def format_difference(name: str, found: dict, other: str, digits: int) -> str:
    """Formats a result of `score.compare_all` for a metric as a line.

    Args:
        name: name of the metric.
        found: the result.
        other: what the model is compared with.
        digits: decimals.
    """
    difference, low, high = (
        f"{found[key]:+.{digits}f}" for key in ("difference", "low", "high")
    )
    return (
        f"{name}: model minus {other} {difference} [{low}, {high}], "
        f"p = {found['p']:.3f}"
    )


# For each kind of groups: the title of its table, and the title of its first column.
_GROUPS = {
    OVERLAPS: ("by overlap of words with the closest training prompt:", "overlap"),
    SOURCES: ("by source:", "source"),
}


def _format_groups(metrics, groups, title, heading) -> list[str]:
    """Lines of scores by group, the model beside the nearest neighbour."""
    names = [name for name in _SHOWN if name in metrics["metrics"]]
    if not groups or not names:
        return []
    lines = ["", title]
    width = max(12, *(len(group) + 2 for group in groups))
    header = "".join(f"{f'{name}: model':>24}{'neighbour':>12}" for name in names)
    lines.append(f"{heading:<{width}}{'examples':>9}{header}")
    for group, found in groups.items():
        shown = group.replace("_", " ") if groups is metrics.get(OVERLAPS) else group
        line = f"{shown:<{width}}{found['examples']:>9}"
        for name in names if found["examples"] else ():
            digits = 4 if name == "cosine" else 2
            own = _format_score(found["metrics"][name], digits, with_interval=True)
            neighbour = found["baselines"][_NEIGHBOUR].get(name)
            line += f"{own:>24}{_format_score(neighbour, digits):>12}"
        lines.append(line)
    return lines


def _format_score(value, digits, with_interval=False) -> str:
    if value is None or value["score"] is None:
        return "unmeasured"
    if not with_interval or value["low"] is None:
        return f"{value['score']:.{digits}f}"
    score, low, high = (f"{value[k]:.{digits}f}" for k in ("score", "low", "high"))
    return f"{score} [{low}, {high}]"
