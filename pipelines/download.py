"""Downloads parts of DiffusionDB, resumes, and verifies every file."""

import dataclasses
import itertools
import pathlib
import sys
import urllib.parse

from pipelines.diffusiondb.remote import BASE_URL, Selection, require_one_layout
from tf_prompt.files import FORCE_HELP
from tf_prompt.options import (
    DONE,
    SOME_FAILED,
    command,
    option,
    parse_args,
    require_positive,
)

EXAMPLES = (
    "python -m pipelines.download --parts 1-3 --output diffusiondb",
    "python -m pipelines.download --metadata-only --large --output diffusiondb",
)
NUM_SHOWN = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DownloadConfig(Selection):
    """Downloads DiffusionDB; the same command resumes an interrupted download."""

    output: str = option(dataclasses.MISSING, "output: folder for the files")
    base_url: str = option(BASE_URL, "server: URL of the files")
    workers: int = option(4, "server: number of files to download at once")
    retries: int = option(
        5, "server: retries per file; the count starts again when new bytes arrive"
    )
    force: bool = option(False, FORCE_HELP, group="output")
    timeout: float = option(60.0, "server: seconds without data before a retry")

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "workers", "timeout")
        # A far larger value would overflow a socket's timeout.
        if self.timeout > 86400:
            raise ValueError(f"timeout must be at most 86400. Received: {self.timeout}")
        if self.retries < 0:
            raise ValueError(f"retries must not be negative. Received: {self.retries}")
        _require_url(self.base_url)


@command
def main(argv=None) -> int:
    """Runs the command and returns its exit code."""
    config = parse_args(DownloadConfig, argv, "download", EXAMPLES)
    folder = pathlib.Path(config.output)
    names = config.list_files()
    require_one_layout(folder, config.layout)
    from pipelines.diffusiondb.parallel import fetch_files
    from pipelines.diffusiondb.transfer import Effort

    outcome = fetch_files(
        names,
        config.base_url.rstrip("/"),
        folder,
        Effort(config.retries, config.timeout),
        config.workers,
        config.force,
    )
    print(
        f"{len(outcome.num_bytes)} of {len(names)} files, "
        f"{sum(outcome.num_bytes.values()):,} bytes, in {folder}; "
        f"{outcome.num_fetched} fetched now"
    )
    return _judge(outcome.failures)


def _require_url(base_url: str) -> None:
    try:
        url = urllib.parse.urlsplit(base_url)
        is_url = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ValueError(
            f"base_url must be http://HOST/… or https://HOST/…. Received: {base_url}"
        )


def _judge(failures: dict[str, str]) -> int:
    for name, cause in itertools.islice(failures.items(), NUM_SHOWN):
        _say(f"error: {name}: {cause}")
    if len(failures) > NUM_SHOWN:
        _say(f"error: and {len(failures) - NUM_SHOWN} more files")
    return SOME_FAILED if failures else DONE


def _say(message: str) -> None:
    print(f"download: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
