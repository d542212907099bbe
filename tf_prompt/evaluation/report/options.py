"""Tables of the options that differ between runs, and of software versions."""

import dataclasses
from collections.abc import Sequence

from tf_prompt.evaluation.report.document import Block, Paragraph, Points, Table
from tf_prompt.evaluation.report.runs import Run
from tf_prompt.runs.config import FitConfig

_NOT_RECORDED = "not recorded"
# Options that do not change any result.
_NO_MATTER = ("run_dir", "gpu_memory")
_VERSIONS = {
    "package_version": "tf_prompt",
    "git_commit": "git commit",
    "tensorflow_version": "TensorFlow",
    "keras_version": "Keras",
}


def option_blocks(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Lists the options of training and evaluation that differ between runs."""
    if len(runs) == 1:
        return (Paragraph("There is only one run: nothing differs."),)
    names = [f.name for f in dataclasses.fields(FitConfig) if f.name not in _NO_MATTER]
    rows = [(name, *(_show(run.config, name) for run in runs)) for name in names]
    names = list(dict.fromkeys(name for run in runs for name in run.evaluation))
    for name in names:
        cells = (_show(run.evaluation, name) for run in runs)
        rows.append((f"evaluate: {name}", *cells))
    rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return (Paragraph("All options are the same."),)
    header = ("option", *(run.name for run in runs))
    return Table(header, tuple(rows), num_text_columns=len(header)), Points(
        ("All other options are the same; each run's config.json has them.",)
    )


def _show(values: dict, name: str) -> str:
    if name not in values:
        return _NOT_RECORDED
    value = values[name]
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def version_blocks(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Lists the software versions that trained each run."""
    rows = []
    for run in runs:
        versions = [str(run.config.get(key) or _NOT_RECORDED) for key in _VERSIONS]
        commit = versions[1]
        versions[1] = commit if commit == _NOT_RECORDED else commit[:10]
        rows.append((run.name, *versions))
    header = ("run", *_VERSIONS.values())
    return (Table(header, tuple(rows), num_text_columns=len(header)),)
