"""The folder of shards: what a run must not find in it, and what describes it."""

import dataclasses
import os
import pathlib
import re
import sys

from pipelines.options import Conversion, WriteOptions
from pipelines.tally import Tally, sum_stats, summarise, write_rejects
from tf_prompt.data.split import SPLITS
from tf_prompt.data.tfds_metadata import write_tfds_metadata
from tf_prompt.files import remove_half_files, write_json
from tf_prompt.options import DONE, SOME_FAILED, take_options

_PART_FILE = re.compile(rf"(?:part|{'|'.join(SPLITS)})-(\d{{5,}})\.(?:json|tfrecord)")
_FOLDER_FILES = ("stats.json", "rejects.csv", "dataset_info.json", "features.json")


def prepare_folder(folder: str | pathlib.Path, num_parts: int) -> None:
    """Makes the output folder, without what a run must not find there.

    Parts that may be done are kept. Half files of a killed run, parts that the
    source no longer has, and the description of the whole folder are removed.

    Raises:
        OSError: if the folder cannot be made or written.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"output must be writable. Received: {folder}")
    for path in folder.iterdir():
        match = _PART_FILE.fullmatch(path.name)
        if path.name in _FOLDER_FILES or (match and int(match[1]) >= num_parts):
            path.unlink()
    remove_half_files(folder)


def finish(source, config: WriteOptions, stats: list[dict], prog: str) -> int:
    """Describes the folder once its shards are there, and judges what was lost.

    Args:
        source: where the parts came from.
        config: options of the run.
        stats: what `convert_part` returned for each part, in order.
        prog: the command's name, for its errors.

    Returns:
        The command's exit code.

    Raises:
        ValueError: if there is no record at all.
    """
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
        "flags": dataclasses.asdict(take_options(Conversion, config)),
        "near_duplicate_jaccard": config.jaccard,
        **tally.as_json(),
    }
    write_json(os.path.join(config.output, "stats.json"), total)
    print(summarise(tally))
    return _judge(tally, config.max_reject_rate, prog)


def _judge(tally: Tally, max_reject_rate: float, prog: str) -> int:
    if tally.reject_rate > max_reject_rate:
        complaint = (
            f"rejected {tally.reject_rate:.1%} of the rows, more than "
            f"max_reject_rate {max_reject_rate:.1%}: {tally.first_rejections}"
        )
    elif tally.rejected["unreadable_part"]:
        complaint = tally.first_rejections
    else:
        return DONE
    print(f"{prog}: error: {complaint}", file=sys.stderr)
    return SOME_FAILED
