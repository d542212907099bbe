"""Shows what a source holds, before and after the filters: numbers, plots, a page."""

import dataclasses
import os
import pathlib
import sys
import typing

from pipelines.options import Filters, SourceOptions, complete
from tf_prompt.files import FORCE_HELP, write_json
from tf_prompt.options import DONE, command, option, parse_args, require_positive

EXAMPLES = (
    "python -m pipelines.inspect --source diffusiondb --output inspection",
    "python -m pipelines.inspect --source kaggle --output inspection --images",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectConfig(Filters, SourceOptions):
    """Counts and plots what a source holds, before and after the filters.

    A filter uses what a source knows about its images. For DiffusionDB the metadata
    alone is enough.
    """

    first_groups: typing.ClassVar = ("input", "output")

    output: str = option(
        dataclasses.MISSING, "output: folder for index.html, summary.json and plots/"
    )
    images: bool = option(False, "input: also read the header of every image")
    processes: int = option(os.cpu_count() or 1, "speed: number of processes")
    force: bool = option(False, FORCE_HELP, group="output")

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "processes")


@command
def main(argv=None) -> int:
    """Runs the command and returns its exit code."""
    config = parse_args(InspectConfig, argv, "inspect", EXAMPLES)
    from pipelines.exploration.page import prepare_folder, write_page
    from pipelines.exploration.plots import draw_plots
    from pipelines.exploration.summary import describe
    from pipelines.exploration.table import open_table
    from pipelines.sources import name_columns

    columns = name_columns(config)
    source = open_table(config.source, config.layout, columns)
    output = pathlib.Path(config.output)
    prepare_folder(output, config.force)
    summary = explore(source, config)
    # Written first: it tells the next run that the other files are ours.
    write_json(output / "summary.json", summary)
    plots = draw_plots(summary, output / "plots")
    write_page(summary, plots, output / "index.html")
    print(describe(summary))
    print(f"page: {output / 'index.html'}")
    return DONE


def explore(source, config: InspectConfig) -> dict:
    """Reads a source and summarises it.

    Args:
        source: from `open_table`.
        config: options of the run.

    Returns:
        Content of `summary.json`; `pipelines.exploration.summary` lists its keys.

    Raises:
        ValueError: if there are no rows, or `--images` is given but there are none.
    """
    from pipelines.exploration.headers import read_headers
    from pipelines.exploration.summary import summarise
    from pipelines.exploration.table import read_table

    if config.images and not len(source):
        raise ValueError(
            f"images must be off for metadata alone. Received: {config.source}"
        )
    config = complete(config, source.is_curated)
    table = read_table(source, config.clean_prompts)
    for note in table.notes:
        print(f"inspect: {note}", file=sys.stderr)
    summary = summarise(table, config, config.processes)
    summary["source"]["path"] = config.source
    summary["images"] = read_headers(source) if config.images else None
    return summary


if __name__ == "__main__":
    sys.exit(main())
