"""Turns images and prompts into TFRecord shards, on one machine."""

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
    """Turns DiffusionDB, a Kaggle folder or a CSV into TFRecord shards.

    Filters apply to DiffusionDB; other sources have no metadata to filter by, and
    each of their images is cropped to its largest centred square.
    """

    processes: int = option(os.cpu_count() or 1, "speed: processes to run at once")

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "processes")


@command
def main(argv=None) -> int:
    """Runs the command and returns its exit code."""
    config = parse_args(WriteConfig, argv, "write_records", EXAMPLES)
    import_tensorflow()
    from pipelines.folder import finish, prepare_folder
    from pipelines.split import open_grouped
    from pipelines.workers import convert_parts

    source = open_grouped(config.source, config.jaccard)
    prepare_folder(source, config, prog="write_records")
    for note in source.notes:
        print(f"write_records: {note}", file=sys.stderr)
    conversion = take_options(Conversion, config)
    stats = convert_parts(source, config.output, conversion, config.processes)
    return finish(source, config, stats, prog="write_records")


if __name__ == "__main__":
    sys.exit(main())
