"""The sections of a report: scores, differences, training and data of the runs."""

from collections.abc import Sequence

from tf_prompt.evaluation.report import options, scores
from tf_prompt.evaluation.report.closeness import closeness_blocks, source_blocks
from tf_prompt.evaluation.report.comparison import Comparison
from tf_prompt.evaluation.report.data_card import describe_data
from tf_prompt.evaluation.report.document import (
    ABSENT,
    Figure,
    Paragraph,
    Points,
    Section,
    Table,
)
from tf_prompt.evaluation.report.runs import Run

# From Kalisz's slides; his counts leave out batch norm statistics.
_THESIS_TRAINING = (
    ("thesis: LSTM", "lstm_base", "81,439,113", "57,931,081", "50", "27", "not stated"),
    (
        "thesis: Transformer",
        "transformer_base",
        "144,668,424",
        "121,160,392",
        "90",
        "71",
        "180 h on one V100",
    ),
)


def write_sections(
    runs: Sequence[Run],
    comparisons: Sequence[Comparison],
    signatures: dict[str, str],
    figure: Figure | None,
) -> list[Section]:
    """Writes all sections of a report.

    Args:
        runs: the runs to report on.
        comparisons: one per pair of runs.
        signatures: signatures of the metrics compared, by name.
        figure: the loss curves; None if no run has any.
    """
    missing = scores.hints(runs)
    return [
        Section("Test scores", (*scores.score_blocks(runs), *missing)),
        Section("Differences", _differences(comparisons, signatures)),
        Section("Baselines", scores.baseline_blocks(runs)),
        Section("Scores by closest training prompt", closeness_blocks(runs)),
        *(
            [Section("Scores by source", source_blocks(runs))]
            if any(run.sources for run in runs)
            else []
        ),
        Section("Health of the prompts", scores.health_blocks(runs)),
        Section("Training", _training(runs, figure)),
        Section("Data", _data(runs)),
        Section("Options that differ", options.option_blocks(runs)),
        Section("Versions", options.version_blocks(runs)),
    ]


def _differences(comparisons: Sequence[Comparison], signatures: dict) -> tuple:
    if not comparisons:
        return (Paragraph("There is only one run: nothing to compare."),)
    rows = []
    for pair in comparisons:
        names = (pair.first, pair.second)
        if pair.reason:
            rows.append((*names, "BLEU, METEOR", pair.reason, "–", "–"))
        for metric, found in pair.differences.items():
            rows.append(
                (
                    *names,
                    scores.TITLES[metric],
                    _judge(pair, found),
                    f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]",
                    f"{found.p:.3f}",
                )
            )
    header = ("A", "B", "metric", "finding", "A − B", "p")
    notes = [
        "Paired bootstrap (Koehn, 2004) over the test examples of both runs: 1000 "
        "resamples, seed 0; 95 % interval of the difference, two-sided p.",
        "It accounts for the choice of test examples, not of training seeds; p values "
        "are not corrected for the number of pairs.",
        *(f"{scores.TITLES[name]}: {text}" for name, text in signatures.items()),
    ]
    return Table(header, tuple(rows), num_text_columns=4), Points(tuple(notes))


def _judge(pair: Comparison, found) -> str:
    if found.low <= 0 <= found.high:
        return "no difference shown"
    return f"{pair.first if found.difference > 0 else pair.second} is better"


def _training(runs: Sequence[Run], figure: Figure | None) -> tuple:
    header = (
        "run",
        "preset",
        "parameters",
        "trainable",
        "epochs",
        "chosen epoch",
        "training time",
    )
    rows = tuple(_train_row(run) for run in runs) + _THESIS_TRAINING
    notes = (
        "Parameters of best.keras include batch normalisation statistics; the thesis "
        "leaves them out (53,120 in ResNet50).",
        "Epochs: finished of those requested. Time: sum of the epochs in history.csv.",
    )
    table = Table(header, rows, num_text_columns=2, num_reference_rows=2)
    curves = figure or Paragraph(
        f"Loss curves: {ABSENT}, no run has finished an epoch."
    )
    return table, Points(notes), curves


def _train_row(run: Run) -> tuple[str, ...]:
    total, trainable = run.parameters or (None, None)
    best = run.best_epoch
    return (
        run.name,
        str(run.config.get("preset", ABSENT)),
        ABSENT if total is None else f"{total:,}",
        ABSENT if trainable is None else f"{trainable:,}",
        f"{len(run.history)} of {run.config.get('epochs', '?')}",
        str(best["epoch"]) if best else ABSENT,
        ABSENT if run.seconds is None else format_seconds(run.seconds),
    )


def format_seconds(seconds: float) -> str:
    """Formats a duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _data(runs: Sequence[Run]) -> tuple:
    names: dict[str, list[str]] = {}
    for run in runs:
        names.setdefault(str(run.config.get("data")), []).append(run.name)
    cards = {data: describe_data(data) for data in names}
    facts = list(dict.fromkeys(fact for card in cards.values() for fact in card))
    facts.sort(key=_FACTS.index)
    rows = [("used by", *(", ".join(users) for users in names.values()))]
    for fact in facts:
        rows.append((fact, *(card.get(fact, ABSENT) for card in cards.values())))
    table = Table(("fact", *names), tuple(rows), num_text_columns=len(names) + 1)
    return table, Points(
        (
            "The folders as they are today. The fingerprint changes with the names "
            "and sizes of the shards, the source parts, the filters and the split.",
        )
    )


_FACTS = (
    "source",
    "folder",
    "fingerprint",
    "rows",
    "filters",
    "dropped by filter",
    "rejected",
    "near-duplicates",
    "kept: train",
    "kept: validation",
    "kept: test",
)
