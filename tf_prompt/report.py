"""Compares runs, and the thesis's results, in Markdown, HTML and curves."""

import dataclasses
import os
import pathlib
import sys
import typing

from tf_prompt import files
from tf_prompt.options import DONE, command, import_tensorflow, option, parse_args

EXAMPLES = (
    "python -m tf_prompt.report --run-dir runs/transformer_tiny --output report",
    "python -m tf_prompt.report --run-dir runs/lstm runs/transformer --output report",
)
CURVES, MARKDOWN, PAGE = "curves.png", "report.md", "report.html"
# Every report starts with it.
_TITLE = "tf_prompt: "


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Compares runs; writes report.md, report.html and curves.png."""

    first_groups: typing.ClassVar = ("run", "output")

    run_dir: tuple[str, ...] = option(
        dataclasses.MISSING,
        "folders of runs of tf_prompt.fit, preferably evaluated",
        metavar="DIR",
        nargs="+",
        action="extend",
        group="run",
    )
    output: str = option(
        dataclasses.MISSING,
        "folder for the report",
        metavar="DIR",
        group="output",
    )
    force: bool = option(
        False,
        files.FORCE_HELP,
        group="output",
    )


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(ReportConfig, argv, "report", EXAMPLES)
    import_tensorflow()
    import tqdm

    from tf_prompt.evaluation.report import runs

    folders = runs.check_runs(options.run_dir, options.output)
    output = _prepare_folder(options.output, options.force)
    named = list(zip(folders, runs.name_runs(folders), strict=True))
    bar = tqdm.tqdm(named, desc="reading runs", unit="run", delay=2)
    print(write_report([runs.read_run(*pair) for pair in bar], output))
    print(f"report: page in {output / 'report.html'}", file=sys.stderr)
    return DONE


def write_report(runs, output: pathlib.Path) -> str:
    """Writes the three files of a report, each one atomically.

    Args:
        runs: at least one result of `evaluation.report.runs.read_run`.
        output: an existing folder.

    Returns:
        The table of test scores as Markdown.
    """
    from tf_prompt.evaluation.report import comparison, curves, document, page, sections

    comparisons, signatures = comparison.compare_runs(runs)
    light, dark = (curves.draw_curves(runs, dark) for dark in (False, True))
    figure = None
    if light and dark:
        caption = "Training loss (dashed) and validation loss; a mark at the best epoch"
        figure = document.Figure(CURVES, caption, light, dark)
    parts = sections.write_sections(runs, comparisons, signatures, figure)
    count = f"{len(runs)} runs side by side" if len(runs) > 1 else "One run"
    title = f"{_TITLE}{count}"
    markdown = document.to_markdown(title, parts)
    # First: it tells the next report that the other files are ours.
    files.write_whole(output / MARKDOWN, markdown.encode())
    if light:
        files.write_whole(output / CURVES, light)
    else:
        # An earlier report's curves would show other runs.
        (output / CURVES).unlink(missing_ok=True)
    markdown = document.to_markdown(title, parts)
    files.write_whole(output / "report.md", markdown.encode())
    files.write_whole(output / "report.html", page.render_page(title, parts).encode())
    return document.block_to_markdown(parts[0].blocks[0])


def _prepare_folder(output: str, force: bool) -> pathlib.Path:
    folder = pathlib.Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"output must be a folder that can be made. Received: {output}: {error}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"output must be writable. Received: {output}")
    if not _is_ours(folder):
        found = files.find_present(folder, (MARKDOWN, PAGE, CURVES))
        files.take_over(folder, "report", found, force)
    return folder


def _is_ours(folder: pathlib.Path) -> bool:
    try:
        with open(folder / MARKDOWN, encoding="utf-8") as file:
            return file.readline().startswith(f"# {_TITLE}")
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(main())
