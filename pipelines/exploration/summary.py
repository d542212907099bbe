"""All numbers about a source, as `summary.json` holds them.

A number over images comes twice: `before` the filters, and `after` them. A list of
`{"value", "before", "after"}` counts images by a value.

source      `name` of its kind, `path`, `notes`
rows        images
filters     for each filter `rule`, `state`, `rows`, `first` and `only`, see `counts`
overlaps    `exact` and `pairs`, rows by the filters that drop them
prompts     `raw`, `normalised`, `without_words`, `duplicates`, see `prompts`
lengths     words before the cut: `max_words`, `cut`, `mean`, `median`, `images`
words       `distinct` and `top`; subjects, media, artists, scripts: lists
syntax      `images` with syntax of A1111 and its like, and its `kinds`, see `syntax`
sizes       of the metadata, like samplers, cfg, step, days: `distinct`, `unknown`,
            `top`; seeds: distinct ones. Null if the source lacks the column
images      what the image headers say, null without `--images`, see `headers`
"""

from collections.abc import Sequence

import numpy as np

from pipelines.exploration.counts import (
    count_columns,
    count_filters,
    count_overlaps,
    judge_rows,
    pair,
)
from pipelines.exploration.prompts import (
    count_lengths,
    count_names,
    count_prompts,
    survey_prompts,
)
from pipelines.exploration.table import Table
from pipelines.judging import judge_prompt
from pipelines.options import FILTERS, Filters
from pipelines.words import join_words


def summarise(table: Table, filters: Filters, processes: int = 1) -> dict:
    """Computes a summary of a table, without `source.path` and `images`.

    Args:
        table: rows and prompts of a source.
        filters: the limits.
        processes: number of processes that apply the text rule.

    Returns:
        JSON-compatible dict with the keys above.
    """
    prompt_ids, num_prompts = table.rows["prompt_id"].to_numpy(), len(table.prompts)
    by_prompt = _judge_prompts(table.prompts, filters, processes)
    by_row = {name: dropped[prompt_ids] for name, dropped in by_prompt.items()}
    drops = judge_rows(table.rows, filters, by_row)
    kept = ~drops.any(axis=1)
    survey = survey_prompts(
        table.prompts,
        np.bincount(prompt_ids, minlength=num_prompts),
        np.bincount(prompt_ids[kept], minlength=num_prompts),
        processes,
    )
    return {
        "source": {"name": table.name, "notes": table.notes},
        "rows": pair(len(kept), kept.sum()),
        "filters": count_filters(table.rows, drops, filters),
        "overlaps": count_overlaps(drops, filters.names),
        "prompts": count_prompts(table.prompts, survey),
        "lengths": count_lengths(survey),
        **count_names(survey),
        **count_columns(table.rows, kept),
    }


def _judge_prompts(
    prompts: Sequence[str], filters: Filters, processes: int
) -> dict[str, np.ndarray]:
    """Returns, for each active filter of prompts, which it drops, bool `(prompts,)`."""
    names = filters.names[len(FILTERS) :]
    if not names:
        return {}
    texts = join_words(prompts, processes)
    pairs = zip(prompts, texts, strict=True)
    causes = [judge_prompt(prompt, text.split(), filters) for prompt, text in pairs]
    return {name: np.array([name in found for found in causes]) for name in names}


def describe(summary: dict) -> str:
    """Formats the main numbers as lines of text."""
    rows, prompts = summary["rows"], summary["prompts"]
    lines = [f"{'':<20}{'before':>12}{'after':>12}"]
    pairs = {
        "rows": rows,
        "distinct prompts": prompts["raw"],
        "  normalised": prompts["normalised"],
        "without words": prompts["without_words"],
        f"over {summary['lengths']['max_words']} words": summary["lengths"]["cut"],
        "with prompt syntax": summary["syntax"]["images"],
    }
    for name, counts in pairs.items():
        lines.append(f"{name:<20}{counts['before']:>12,}{counts['after']:>12,}")
    for name, drop in summary["filters"].items():
        told = f"drops {drop['rows']:,}" if drop["state"] == "on" else drop["state"]
        lines.append(f"{name.replace('_', ' '):<20}{told:>12}")
    return "\n".join(lines)
