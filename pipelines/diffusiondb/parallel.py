"""Fetches many files at once, skips existing ones, and shows progress."""

import concurrent.futures
import dataclasses
import functools
import pathlib
import sys
import threading
import time
from collections.abc import Sequence

import tqdm

from pipelines.diffusiondb.manifest import Entry, Manifest
from pipelines.diffusiondb.part_file import PartFile
from pipelines.diffusiondb.transfer import Effort, GaveUp, TransferError, fetch_file
from pipelines.diffusiondb.verify import CorruptFile, verify_file
from tf_prompt.files import take_over

# With a dead server, the back-off of 14,000 files would last a day.
MAX_GIVEN_UP = 20


@dataclasses.dataclass
class Outcome:
    """The result of a download.

    Args:
        num_bytes: dict from path to size of all files that are complete.
        num_fetched: number of files that this run fetched.
        failures: dict from path to cause of the files that failed, in order.
    """

    num_bytes: dict[str, int] = dataclasses.field(default_factory=dict)
    num_fetched: int = 0
    failures: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, name: str, entry: Entry, is_new: bool) -> None:
        """Counts a complete file.

        Args:
            name: path of the file.
            entry: its facts.
            is_new: whether this run fetched it.
        """
        self.num_bytes[name] = entry.bytes
        self.num_fetched += is_new


def fetch_files(
    names: Sequence[str],
    base_url: str,
    folder: pathlib.Path,
    effort: Effort,
    workers: int,
    force: bool = False,
) -> Outcome:
    """Fetches files into a folder, under the same paths as on the server.

    A file that fails does not affect the others.

    Args:
        names: paths of the files, relative to both roots.
        base_url: URL of the root on the server.
        folder: the local root; `manifest.json` is written there last.
        effort: retries and timeout for each file.
        workers: number of files to fetch at once.
        force: whether to replace damaged files that no earlier run downloaded.

    Returns:
        `Outcome`.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if another process downloads into the folder.
    """
    stop = threading.Event()
    with (
        Manifest(folder) as manifest,
        _Progress(len(names)) as progress,
        concurrent.futures.ThreadPoolExecutor(workers) as executor,
    ):
        bring = functools.partial(
            _bring,
            base_url=base_url,
            folder=folder,
            effort=effort,
            stop=stop,
            force=force,
        )

        def give_up() -> None:
            stop.set()
            executor.shutdown(wait=False, cancel_futures=True)

        name_of = {}
        try:
            for name in names:
                report = functools.partial(progress.move, name)
                future = executor.submit(bring, name, manifest.get(name), report=report)
                name_of[future] = name
            outcome = _collect(name_of, manifest, progress, give_up)
        except BaseException:
            # Otherwise Ctrl-C or a full disk would wait for every transfer.
            give_up()
            raise
        manifest.write()
    return outcome


def _collect(name_of, manifest: Manifest, progress, give_up) -> Outcome:
    outcome = Outcome()
    num_given_up = 0
    for future in concurrent.futures.as_completed(name_of):
        name = name_of[future]
        try:
            entry, is_new = future.result()
        except TransferError as error:
            outcome.failures[name] = str(error)
            num_given_up += isinstance(error, GaveUp)
        else:
            num_given_up = 0
            progress.move(name, 0, 1.0)
            manifest.add(name, entry)
            outcome.add(name, entry, is_new)
        if num_given_up == MAX_GIVEN_UP:
            give_up()
            break
    for name in name_of.values():
        if name not in outcome.num_bytes:
            cause = f"not tried, {MAX_GIVEN_UP} files failed before"
            outcome.failures.setdefault(name, cause)
    return outcome


def _bring(
    name, entry: Entry | None, base_url, folder, effort, report, stop, force
) -> tuple[Entry, bool]:
    """Returns a file's entry, and whether the file had to be fetched."""
    path = folder / name
    url = f"{base_url}/{name}"
    if path.is_file():
        # A process may have been killed between the steps of `finish`.
        PartFile(path).discard()
        size = path.stat().st_size
        if entry is not None and entry.bytes == size:
            return entry, False
        try:
            return Entry(size, verify_file(path, path.suffix), url), False
        except CorruptFile as error:
            if entry is None:
                _take_over(name, folder, error, force)
            path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = fetch_file(url, path, effort, report, stop)
    return Entry(path.stat().st_size, digest, url), True


def _take_over(name: str, folder: pathlib.Path, error: CorruptFile, force) -> None:
    """Raises unless `force`: an unknown file of that name may be the user's own."""
    try:
        take_over(folder, "download", [name], force)
    except ValueError as refusal:
        raise TransferError(f"{error}; {refusal}") from error


class _Progress:
    """A progress bar over files and fractions of files, with bytes and their rate.

    The total number of bytes is unknown until the last file starts, so the remaining
    time is estimated from the share of the files.
    """

    def __init__(self, num_files: int):
        self._bar = tqdm.tqdm(
            total=num_files,
            bar_format=(
                "{l_bar}{bar}| {n:.1f}/{total} files{postfix} [{elapsed}<{remaining}]"
            ),
            # Rarely in a log file, where each update is a line.
            mininterval=0.2 if sys.stderr.isatty() else 30,
        )
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._num_bytes = 0
        self._shares: dict[str, float] = {}

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *error) -> None:
        self._bar.close()

    def move(self, name: str, num_bytes: int, share: float) -> None:
        """Notes received bytes, and the share of their file that is complete."""
        with self._lock:
            self._num_bytes += num_bytes
            moved = share - self._shares.get(name, 0.0)
            self._shares[name] = share
            rate = self._num_bytes / max(1e-3, time.monotonic() - self._start)
            amounts = [tqdm.tqdm.format_sizeof(n, "B") for n in (self._num_bytes, rate)]
            self._bar.set_postfix_str("{}, {}/s".format(*amounts), refresh=False)
            # Rounded shares may add up to more than 1, and tqdm warns past 100 %.
            self._bar.update(min(moved, self._bar.total - self._bar.n))
