"""Converts images and prompts to TFRecord shards, on one machine."""

import dataclasses
import os
import sys

from pipelines.options import Conversion, WriteOptions
from tf_prompt.options import (
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
    take_options,
)

EXAMPLES = (
    "python -m pipelines.write_records --source diffusiondb --output shards",
    "python -m pipelines.write_records --source pictures.csv --output shards --force",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteConfig(WriteOptions):
    """Converts images and their prompts, in any known layout, to TFRecord shards.

    A filter uses what a source knows about its images; unknown values drop nothing.
    """

    processes: int = option(os.cpu_count() or 1, "speed: number of processes")
    scheduler: str | None = option(
        None,
        "speed: address of a Dask scheduler, such as tcp://host:8786, whose workers "
        "convert the parts; they must see source and output at the same paths",
    )

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "processes")


@command
def main(argv=None) -> int:
    """Runs the command and returns its exit code."""
    config = parse_args(WriteConfig, argv, "write_records", EXAMPLES)
    import_tensorflow()
    from pipelines.folder import finish, prepare_folder
    from pipelines.planning import open_planned
    from pipelines.workers import convert_parts

    if config.scheduler:
        # Workers need not have this working directory.
        places = os.path.abspath(config.source), os.path.abspath(config.output)
        config = dataclasses.replace(config, source=places[0], output=places[1])
    source, config = open_planned(config, config.processes)
    prepare_folder(source, config, prog="write_records")
    for note in source.notes:
        print(f"write_records: {note}", file=sys.stderr)
    conversion = take_options(Conversion, config)
    stats = convert_parts(
        source, config.output, conversion, config.processes, config.scheduler
    )
    return finish(source, config, stats, prog="write_records")


if __name__ == "__main__":
    sys.exit(main())
