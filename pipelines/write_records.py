"""Turns images and prompts into TFRecord shards, on one machine."""

import dataclasses
import os
import sys

from pipelines.options import Conversion
from tf_prompt.config import (
    DONE,
    SOME_FAILED,
    command,
    import_tensorflow,
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
    group_near_duplicates: bool = option(
        False, "keep prompts that share most of their words in one split"
    )
    near_duplicate_jaccard: float = option(
        0.7, "words in both prompts over words in either, from which they are grouped"
    )

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "processes", "near_duplicate_jaccard")
        require_rate(self, "max_reject_rate")
        if self.near_duplicate_jaccard > 1:
            raise ValueError(
                f"near_duplicate_jaccard must be at most 1. "
                f"Received: {self.near_duplicate_jaccard}"
            )


@command
def main(argv=None) -> int:
    """Runs the command and returns its exit code."""
    config = parse_args(WriteConfig, argv, prog="write_records")
    import_tensorflow()
    source = open_grouped(config)
    from pipelines.convert import prepare_folder
    from pipelines.workers import convert_parts

    prepare_folder(config.output, len(source))
    stats = convert_parts(
        source, config.output, Conversion.of(config), config.processes
    )
    return finish(source, config, stats)


def open_grouped(config: WriteConfig):
    """Opens the source of a run, its near-duplicates grouped if that is asked for.

    Raises:
        FileNotFoundError: if there is no source.
        ValueError: if it fits no layout, or cannot be grouped.
    """
    from pipelines.sources import open_source

    source = open_source(config.source)
    for note in source.notes:
        _say(note)
    if config.group_near_duplicates:
        from pipelines.split import GroupedSource

        source = GroupedSource(source, config.near_duplicate_jaccard)
        _say(f"{len(source.groups)} prompts have near-duplicates")
    return source


def finish(source, config: WriteConfig, stats: list[dict]) -> int:
    """Describes the folder once its shards are there, and judges what was lost.

    Args:
        source: where the parts came from.
        config: options of the run.
        stats: what `convert_part` returned for each part, in order.

    Returns:
        The command's exit code.

    Raises:
        ValueError: if there is no record at all.
    """
    from pipelines.tally import sum_stats, summarise, write_rejects
    from tf_prompt.data.metadata import write_tfds_metadata

    tally = sum_stats(stats)
    write_rejects(stats, os.path.join(config.output, "rejects.csv"))
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
        "flags": dataclasses.asdict(Conversion.of(config)),
        "near_duplicate_jaccard": (
            config.near_duplicate_jaccard if config.group_near_duplicates else None
        ),
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
