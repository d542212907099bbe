"""The table of scores by how near the closest training prompt is."""

from collections.abc import Sequence

from tf_prompt.evaluation.report import scores
from tf_prompt.evaluation.report.document import ABSENT, Block, Paragraph, Points, Table
from tf_prompt.evaluation.report.runs import Run

_METRICS = ("bleu", "meteor", "bertscore_f1", "cosine")
_NOTE = (
    "Overlap: words in both prompts over words in either, of the true prompt and the "
    "training prompt most like it. High scores in the last group alone are those of a "
    "model that looks up its training set."
)


def closeness_blocks(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Writes scores of each run and its nearest neighbour, a row a group."""
    rows = []
    for run in runs:
        for group, found in run.overlaps.items():
            name = group.replace("_", " ")
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
        return (Paragraph(f"Scores by closest training prompt: {ABSENT}."),)
    titles = [scores.TITLES[name] for name in _METRICS]
    header = ("run", "overlap", "prompts of", "examples", *titles)
    return Table(header, tuple(rows), num_text_columns=3), Points((_NOTE,))
