"""Tables of test scores, baselines and health, with the thesis's rows."""

import pathlib
import shlex
from collections.abc import Callable, Sequence

from tf_prompt.evaluation.report.document import (
    ABSENT,
    Block,
    Command,
    Details,
    Paragraph,
    Points,
    Table,
)
from tf_prompt.evaluation.report.runs import Run
from tf_prompt.metrics.score import ALL_METRICS, METRICS

TITLES = {
    "bleu": "BLEU",
    "meteor": "METEOR",
    "bertscore_f1": "BERTScore F1",
    "cosine": "cosine",
    "cider_d": "CIDEr-D",
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "sacrebleu": "sacrebleu",
    "rouge_l": "ROUGE-L",
    "bertscore_precision": "BERTScore precision",
    "bertscore_recall": "BERTScore recall",
}
_DIGITS = {"cosine": 3}
_NOT_STATED = "not stated"
_THESIS = {
    "thesis: LSTM": {"bleu": 1.1, "meteor": 8.1, "bertscore_f1": 44.1},
    "thesis: Transformer": {"bleu": 5.0, "meteor": 14.1, "bertscore_f1": 51.6},
}
_CHANCE = "shuffled"
_BASELINES = {
    "most_common": "most common prompt",
    "nearest_neighbour": "nearest neighbour",
    "random_training": "random training prompts",
    _CHANCE: "chance level: true prompts of other images",
}

# From a measured value and its metric's name to the mark of its signature, or "".
_Marker = Callable[[dict, str], str]


def score_blocks(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Writes the main table of scores, the chance level, and the signatures."""
    sets = [run.metrics["metrics"] for run in runs if run.metrics]
    marker, notes = _number_signatures(sets)
    rows = [_score_row(run, marker) for run in runs]
    for name, scores in _THESIS.items():
        cells = [f"{scores[m]:.1f}" if m in scores else _NOT_STATED for m in METRICS]
        data = "DiffusionDB 2M, square"
        rows.append((name, *cells, _NOT_STATED, data))
    # Scores come first: on a phone the other columns need scrolling.
    header = ("run", *(TITLES[name] for name in METRICS), "examples", "data")
    thesis = (
        "The thesis's rows (Kalisz) have other data and another signature: they are "
        "not directly comparable. Its toolkit and settings are not stated."
    )
    table = Table(header, tuple(rows), num_reference_rows=2)
    brackets = (
        "In brackets: 95 % bootstrap interval over the test examples, or, where the "
        "signature says so, over their families."
    )
    if len({str(run.config.get("data")) for run in runs if run.metrics}) > 1:
        brackets += " Runs on different data are not directly comparable."
    points = Points((thesis, brackets, *notes))
    return table, *_chance_level(runs), points, *_all_metrics(runs)


def _chance_level(runs: Sequence[Run]) -> list[Block]:
    """States what true prompts score on wrong images; only once if it is the same."""
    of_level: dict[str, list[str]] = {}
    for run in runs:
        scores = (run.metrics or {}).get("baselines", {}).get(_CHANCE, {})
        levels = [
            f"{TITLES[name]} {scores[name]['score']:.{_DIGITS.get(name, 2)}f}"
            for name in METRICS
            if scores.get(name, {}).get("score") is not None
        ]
        of_level.setdefault(", ".join(levels), []).append(run.name)
    blocks = []
    for level, names in of_level.items():
        of_runs = "" if len(of_level) == 1 else f" for {', '.join(names)}"
        if not level:
            blocks.append(Paragraph(f"Chance level{of_runs}: {ABSENT}."))
            continue
        text = (
            f"Chance level{of_runs}, the score of the true prompts when assigned to "
            f"the wrong images: {level}. Prompts of the right kind reach it without "
            "looking at any image."
        )
        blocks.append(Paragraph(text))
    return blocks


def _all_metrics(runs: Sequence[Run]) -> list[Block]:
    """Lists every metric of any run, folded at first."""
    sets = [run.metrics["metrics"] if run.metrics else {} for run in runs]
    held = {name for scores in sets for name in scores}
    if not held:
        return []
    # A later version may write metrics for which this one has no title.
    names = [*(n for n in ALL_METRICS if n in held), *sorted(held - {*ALL_METRICS})]
    marker, _ = _number_signatures(sets, names)
    others = [name for name in names if name not in METRICS]
    notes = _number_signatures(sets, others)[1]
    rows = [
        (_title(name), *(_format(scores, name, marker) for scores in sets))
        for name in names
    ]
    header = ("metric", *(run.name for run in runs))
    points = Points(("Signatures of the main metrics are above.", *notes))
    return [Details("All metrics", (Table(header, tuple(rows)), points))]


def _title(name: str) -> str:
    return TITLES.get(name, name.replace("_", " "))


def _score_row(run: Run, marker: _Marker) -> tuple[str, ...]:
    # The data section has the whole path.
    data = pathlib.PurePath(str(run.config.get("data", ABSENT))).name
    if not run.metrics:
        return (run.name, *[ABSENT] * len(METRICS), ABSENT, data)
    cells = [_format(run.metrics["metrics"], name, marker) for name in METRICS]
    return (run.name, *cells, f"{run.metrics['examples']:,}", data)


def format_score(scores: dict, name: str) -> str:
    """Formats one score and its interval, as in the tables of the report.

    Args:
        scores: dict from metric to its entry of `metrics.json`.
        name: name of the metric.
    """
    return _format(scores, name, lambda value, name: "")


def _format(scores: dict, name: str, marker: _Marker) -> str:
    value = scores.get(name)
    if value is None or value["score"] is None:
        return ABSENT
    digits = _DIGITS.get(name, 2)
    text = f"{value['score']:.{digits}f}{marker(value, name)}"
    if value["low"] is None:
        return text
    low, high = (f"{value[end]:.{digits}f}" for end in ("low", "high"))
    return f"{text} [{low}, {high}]"


def _number_signatures(
    sets: Sequence[dict], names: Sequence[str] = METRICS
) -> tuple[_Marker, list[str]]:
    """Lists the signatures of each metric, numbered if there are several."""
    known: dict[str, list[str]] = {}
    for scores in sets:
        for name in names:
            value = scores.get(name, {"score": None})
            listed = known.setdefault(name, [])
            if value["score"] is not None and value["signature"] not in listed:
                listed.append(value["signature"])

    def marker(value, name):
        if len(known[name]) < 2:
            return ""
        return f" ({known[name].index(value['signature']) + 1})"

    notes = []
    for name, signatures in known.items():
        title = _title(name)
        if len(signatures) == 1:
            notes.append(f"{title}: {signatures[0]}")
        elif signatures:
            several = "; ".join(f"({i}) {s}" for i, s in enumerate(signatures, start=1))
            notes.append(
                f"{title}: several signatures, not directly comparable: {several}"
            )
    return marker, notes


def hints(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Lists what was not measured, and how to measure it."""
    blocks: list[Block] = []
    for run in runs:
        command = (
            f"python -m tf_prompt.evaluate --run-dir {shlex.quote(str(run.folder))}"
        )
        if not run.metrics:
            blocks.append(Paragraph(f"{run.name} was not evaluated on the test split:"))
            blocks.append(Command(command))
            continue
        scores = run.metrics["metrics"]
        absent = [TITLES[name] for name in METRICS if name not in scores]
        if absent:
            blocks.append(Paragraph(f"{run.name}: {ABSENT}: {', '.join(absent)}:"))
            blocks.append(Command(command))
        for name in METRICS:
            if name in scores and scores[name]["score"] is None:
                text = f"{run.name}: {TITLES[name]} {scores[name]['signature']}"
                blocks.append(Paragraph(text))
    return tuple(blocks)


def baseline_blocks(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Writes the table of baselines: scores of trivial methods."""
    rows: list[tuple[str, ...]] = []
    sets: list[dict] = []
    for run in runs:
        sets += (run.metrics or {}).get("baselines", {}).values()
    marker, _ = _number_signatures(sets)
    for run in runs:
        baselines = (run.metrics or {}).get("baselines", {})
        for key in dict.fromkeys((*_BASELINES, *baselines)):
            title = _BASELINES.get(key, key.replace("_", " "))
            scores = baselines.get(key, {})
            cells = [_format(scores, name, marker) for name in METRICS]
            rows.append((run.name, title, *cells))
    header = ("run", "baseline", *(TITLES[name] for name in METRICS))
    note = (
        "Most common: always the most frequent training prompt. Nearest neighbour: the "
        "prompt of the training image with the most similar features in the run's "
        "encoder. Random: a random training prompt for each image. Chance level: the "
        "true prompts of the test split, assigned to the wrong images. Signatures as "
        "above."
    )
    return Table(header, tuple(rows), num_text_columns=2), Points((note,))


def health_blocks(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Writes the table of signs of degenerate prompts."""
    names: dict[str, None] = {}
    for run in runs:
        names.update(dict.fromkeys((run.metrics or {}).get("health", {})))
    if not names:
        return (Paragraph(f"Health: {ABSENT}."),)
    rows = []
    for run in runs:
        health = (run.metrics or {}).get("health", {})
        cells = [health.get(name) for name in names]
        shown = [ABSENT if value is None else f"{value:.3f}" for value in cells]
        rows.append((run.name, *shown))
    header = ("run", *(name.replace("_", " ") for name in names))
    return Table(header, tuple(rows)), Points(
        (
            "Unique ratio: distinct predictions over all predictions. End rate: share "
            "that ended before the length limit. Length ratio: words written over "
            "words in the true prompts. Distinct 1, 2: distinct words and word pairs "
            "over all of them.",
        )
    )
