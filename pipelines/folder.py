"""The folder of shards: prepared before a run, and described after it."""

import os
import pathlib
import sys

from pipelines.advice import (
    advise_dropped,
    advise_empty,
    advise_leaks,
    advise_scripts,
    advise_syntax,
)
from pipelines.options import Conversion, WriteOptions
from pipelines.tally import (
    Tally,
    describe_families,
    describe_leaks,
    sum_stats,
    summarise,
    write_rejects,
)
from pipelines.written import (
    COMMAND,
    FOLDER_FILES,
    Written,
    find_written,
    holds_only,
    list_files,
)
from tf_prompt.data.records import LABELS
from tf_prompt.data.tfds_metadata import write_tfds_metadata
from tf_prompt.files import (
    MANIFEST,
    belongs,
    name_some,
    remove_half_files,
    take_over,
    write_json,
)
from tf_prompt.options import DONE, SOME_FAILED, take_options

# Folders that `fit` writes beside shards; they depend on the shards' names and sizes.
_CACHES = {"embeddings", "features"}


def prepare_folder(source, config: WriteOptions, prog: str) -> None:
    """Creates the output folder, or removes what a run must not find in it.

    Finished parts of the same source are kept. Of the files in the folder's manifest,
    these are removed: partial files of a killed run, parts that the source no longer
    has, and the description of the folder. Other files are removed only with `force`:
    shards of another source, and files whose names are needed.

    Args:
        source: source of the parts.
        config: options of the run.
        prog: the command's name, for messages.

    Raises:
        OSError: if the folder cannot be created or written.
        ValueError: if it holds something else, which then stays as it is.
    """
    folder = pathlib.Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"output must be writable. Received: {folder}")
    conversion = take_options(Conversion, config)
    needed = list_files(len(source))
    path, flags = os.path.realpath(config.source), conversion.as_json()
    written = Written(source.name, path, flags, needed)
    present = {entry.name for entry in folder.iterdir()}
    before = find_written(folder, len(source))
    listed = set(before.files) if before else set()
    own = {*listed, MANIFEST}
    # If nothing is left of the other source, nothing is lost.
    if before and not before.is_of(written) and present & listed:
        if not holds_only(folder, before, source, conversion):
            _require_force(config, before, written)
            own = {MANIFEST}
    ours = needed | listed
    strangers = {name for name in present if not belongs(name, own)}
    taken = {name for name in strangers if belongs(name, ours)}
    strangers = {name for name in strangers if not _is_cache(folder / name)}
    if strangers and not config.force:
        _refuse(folder, strangers, taken)
    take_over(folder, prog, taken, config.force)
    written.note(folder, ours)
    for name in taken | (present & (listed - needed)) | (present & set(FOLDER_FILES)):
        (folder / name).unlink(missing_ok=True)
    remove_half_files(folder, {*ours, MANIFEST})
    if ours != needed:
        written.note(folder, needed)


def _is_cache(path: pathlib.Path) -> bool:
    return path.name in _CACHES and path.is_dir()


def _require_force(config: WriteOptions, before: Written, written: Written) -> None:
    if not config.force:
        raise ValueError(
            f"output must not hold shards of another source. Received: {config.output} "
            f"with those of {before}, not of {written}; --force replaces them"
        )


def _refuse(folder, strangers: set[str], taken: set[str]) -> None:
    effect = "leaves them there"
    if taken:
        effect = f"replaces {name_some(taken, 4)}"
        effect += ", leaves the others" if strangers - taken else ""
    raise ValueError(
        f"output must be new, empty, or what {COMMAND} made of this source. Received: "
        f"{folder} with {name_some(strangers)}; --force {effect}"
    )


def finish(source, config: WriteOptions, stats: list[dict], prog: str) -> int:
    """Describes the folder once its shards are complete, and judges what was lost.

    Args:
        source: source of the parts.
        config: options of the run.
        stats: result of `convert_part` for each part, in order.
        prog: the command's name, for errors.

    Returns:
        The command's exit code.

    Raises:
        ValueError: if there are no records.
    """
    tally, conversion = sum_stats(stats), take_options(Conversion, config)
    write_rejects(stats, os.path.join(config.output, "rejects.csv"))
    if not tally.examples.total():
        lost = f", all lost: {tally.causes}" if tally.causes else ""
        raise ValueError(
            f"source must give at least one record. Received: {tally.rows} rows{lost}"
        )
    lengths = {split: [p["examples"][split] for p in stats] for split in tally.examples}
    has = {"family": bool(tally.families), "source": bool(config.source_column)}
    labels = [name for name in LABELS if has[name]]
    write_tfds_metadata(config.output, source.name, config.image_size, lengths, labels)
    total = {
        "source": source.name,
        "parts": len(stats),
        "flags": conversion.as_json(),
        "near_duplicate_jaccard": config.jaccard,
        **_describe_plan(config),
        **tally.as_json(),
        **describe_families(tally),
        **describe_leaks(tally),
    }
    total.pop("own_splits", None)
    write_json(os.path.join(config.output, "stats.json"), total)
    print(summarise(tally))
    exit_code = _judge(tally, config.max_reject_rate, prog)
    # Rejections are reported first: they may be the reason for an empty split.
    if exit_code == DONE:
        lines = (
            advise_empty(config.output, tally, conversion),
            advise_dropped(tally),
            advise_leaks(tally),
            advise_syntax(tally),
            advise_scripts(tally),
        )
        for line in filter(None, lines):
            print(f"warning: {line}", file=sys.stderr)
    return exit_code


def _describe_plan(config: WriteOptions) -> dict:
    """Returns the given flags of planning, by their names."""
    plan = {
        "near_duplicate_image_bits": config.near_duplicate_bits
        if config.group_near_duplicate_images
        else None,
        "group_families": config.group_families,
        "max_per_prompt": config.max_per_prompt,
        "max_per_family": config.max_per_family,
        "split_column": config.split_column,
        "source_column": config.source_column,
    }
    return {name: value for name, value in plan.items() if value is not None}


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
