"""Converts the parts of a source in processes or on a cluster; shows progress."""

import concurrent.futures
import functools
import itertools
import multiprocessing
import pathlib
import sys
from collections.abc import Callable, Iterator

import tqdm

from pipelines import worker
from pipelines.convert import convert_part, read_done
from pipelines.options import Conversion
from pipelines.parts import Part, Source
from pipelines.written import list_files
from tf_prompt.data import cluster
from tf_prompt.files import MANIFEST, remove_half_files


def convert_parts(
    source: Source,
    folder: str | pathlib.Path,
    conversion: Conversion,
    processes: int,
    scheduler: str | None = None,
) -> list[dict]:
    """Converts the parts of a source that are not done yet.

    Args:
        source: source of the parts.
        folder: folder for the shards.
        conversion: filters, image size and shares of the splits.
        processes: number of processes; 1 starts no child process.
        scheduler: address of a Dask scheduler, whose workers then do the work.

    Returns:
        The stats of all parts, in the source's order.

    Raises:
        OSError: if the shards cannot be written, or a worker dies.
    """
    stats: dict[int, dict] = {}
    # A parquet file can have no rows, and so no parts.
    processes = max(1, min(processes, len(source)))

    def list_todo() -> Iterator[Part]:
        for part in source.parts():
            done = read_done(part, folder, conversion)
            if done is None:
                yield part
            else:
                stats[part.index] = done
                _move(bar, 1.0)

    with _progress_bar(len(source)) as bar:
        convert = functools.partial(convert_part, folder=folder, conversion=conversion)
        if scheduler:
            for part, done in cluster.run(convert, list_todo(), scheduler):
                stats[part.index] = done
                _move(bar, 1.0)
            # Partial files of killed workers.
            remove_half_files(folder, {*list_files(len(source)), MANIFEST})
        elif processes == 1:
            advance = functools.partial(_move, bar)
            for part in list_todo():
                stats[part.index] = convert(part, advance=advance)
        else:
            pool = _convert_in_pool(list_todo(), convert, processes, bar)
            try:
                stats.update(pool)
            finally:
                remove_half_files(folder, {*list_files(len(source)), MANIFEST})
    return [stats[index] for index in sorted(stats)]


def _progress_bar(num_parts: int) -> tqdm.tqdm:
    return tqdm.tqdm(
        total=num_parts,
        bar_format="{l_bar}{bar}| {n:.1f}/{total} parts [{elapsed}<{remaining}]",
        # Rarely in a log file, where each update is a line.
        mininterval=0.2 if sys.stderr.isatty() else 30,
    )


def _move(bar, num_parts: float) -> None:
    # Rounded shares may add up to more than 1, and tqdm warns past 100 %.
    bar.update(min(num_parts, bar.total - bar.n))


def _convert_in_pool(
    parts: Iterator[Part], convert: Callable[[Part], dict], processes: int, bar
) -> Iterator[tuple[int, dict]]:
    # Not fork: TensorFlow's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    progress = context.Value("d", 0.0)
    shown = 0.0
    executor = concurrent.futures.ProcessPoolExecutor(
        processes, context, initializer=worker.start, initargs=(progress,)
    )
    index_of: dict[concurrent.futures.Future, int] = {}
    try:
        while True:
            # Only a few parts ahead, because each contains its rows of the metadata.
            for part in itertools.islice(parts, 2 * processes - len(index_of)):
                future = executor.submit(worker.convert, convert, part)
                index_of[future] = part.index
            if not index_of:
                break
            finished, _ = concurrent.futures.wait(
                index_of, 0.5, concurrent.futures.FIRST_COMPLETED
            )
            for future in finished:
                yield index_of.pop(future), future.result()
            moved = progress.value - shown
            shown += moved
            _move(bar, moved)
    except concurrent.futures.process.BrokenProcessPool as error:
        raise OSError(
            "a worker process was killed, perhaps for lack of memory; the same "
            "command goes on from here, with fewer --processes if need be"
        ) from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
            child.join()
