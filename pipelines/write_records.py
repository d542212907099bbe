"""Turns images and prompts into TFRecord shards, on one machine."""

import dataclasses
import os
import sys

from pipelines.options import Conversion
from tf_prompt.config import (
    DONE,
    SOME_FAILED,
    command,
    option,
    parse_args,
    require_positive,
    require_rate,
    write_json,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteConfig(Conversion):
    """Turns DiffusionDB, a Kaggle folder or a CSV into TFRecord shards.

    Filters apply to DiffusionDB; other sources have no metadata to filter by, and
    each of their images is cropped to its largest centred square.
    """

    source: str = option(
        dataclasses.MISSING, "folder in DiffusionDB's or Kaggle's layout, or a CSV"
    )
    output: str = option(dataclasses.MISSING, "folder for the shards")
    processes: int = option(os.cpu_count() or 1, "processes that work at once")
    max_reject_rate: float = option(0.05, "share of bad rows above which exit is 1")

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "processes")
        require_rate(self, "max_reject_rate")


@command
def main(argv=None) -> int:
    """Runs the command and returns its exit code."""
    config = parse_args(WriteConfig, argv, prog="write_records")
    from pipelines.sources import open_source

    source = open_source(config.source)
    for note in source.notes:
        _say(note)
    from pipelines.convert import prepare_folder
    from pipelines.tally import sum_stats, summarise
    from pipelines.workers import convert_parts
    from tf_prompt.data.metadata import write_tfds_metadata

    conversion = Conversion.of(config)
    prepare_folder(config.output, len(source))
    stats = convert_parts(source, config.output, conversion, config.processes)
    tally = sum_stats(stats)
    if not tally.examples.total():
        raise ValueError(
            f"source must give at least one record. Received: {tally.rows} rows, all "
            f"lost: {tally.causes}"
        )
    lengths = {split: [p["examples"][split] for p in stats] for split in tally.examples}
    write_tfds_metadata(config.output, source.name, config.image_size, lengths)
    total = {
        "source": source.name,
        "parts": len(stats),
        "flags": dataclasses.asdict(conversion),
        **tally.as_json(),
    }
    write_json(os.path.join(config.output, "stats.json"), total)
    print(summarise(tally))
    return _judge(tally, config.max_reject_rate)


def _judge(tally, max_reject_rate: float) -> int:
    if tally.reject_rate > max_reject_rate:
        _say(
            f"error: rejected {tally.reject_rate:.1%} of the rows, more than "
            f"max_reject_rate {max_reject_rate:.1%}: {tally.first_rejections}"
        )
        return SOME_FAILED
    if tally.rejected["unreadable_part"]:
        _say(f"error: {tally.first_rejections}")
        return SOME_FAILED
    return DONE


def _say(message: str) -> None:
    print(f"write_records: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
