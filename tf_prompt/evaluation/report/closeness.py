"""Tables of scores by source, and by overlap with the closest training prompt."""

from collections.abc import Sequence

from tf_prompt.evaluation.report import scores
from tf_prompt.evaluation.report.document import ABSENT, Block, Paragraph, Points, Table
from tf_prompt.evaluation.report.runs import Run

_METRICS = ("bleu", "meteor", "bertscore_f1", "cosine")
_NOTE = (
    "Overlap: words in both prompts over words in either, for the true prompt and the "
    "most similar training prompt. High scores in the last group only are those of a "
    "model that looks up its training set."
)


def closeness_blocks(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Writes the scores of each run and its nearest neighbour, one row per overlap."""
    groups = [
        {name.replace("_", " "): found for name, found in run.overlaps.items()}
        for run in runs
    ]
    table = _group_blocks(runs, groups, "overlap")
    return (*table, Points((_NOTE,))) if any(groups) else table


def source_blocks(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Writes the scores of each run and its nearest neighbour, one row per source."""
    return _group_blocks(runs, [run.sources for run in runs], "source")


def _group_blocks(runs, groups, heading) -> tuple[Block, ...]:
    rows = []
    for run, of_run in zip(runs, groups, strict=True):
        for name, found in of_run.items():
            count = f"{found['examples']:,}"
            if not found["examples"]:
                rows.append((run.name, name, "model", count, *[ABSENT] * 4))
                continue
            neighbour = found["baselines"].get("nearest_neighbour", {})
            for title, values in (
                ("model", found["metrics"]),
                ("nearest neighbour", neighbour),
            ):
                cells = [scores.format_score(values, n) for n in _METRICS]
                rows.append((run.name, name, title, count, *cells))
    if not rows:
        return (Paragraph(f"Scores by {heading}: {ABSENT}."),)
    titles = [scores.TITLES[name] for name in _METRICS]
    header = ("run", heading, "prompts of", "examples", *titles)
    return (Table(header, tuple(rows), num_text_columns=3),)
