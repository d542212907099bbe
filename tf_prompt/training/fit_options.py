"""The flags of `fit`: the options of a run, and what to do in place of one."""

import argparse
import dataclasses
from collections.abc import Sequence

from tf_prompt.config import FitConfig, flags_of, option, parse_args
from tf_prompt.whole_files import read_json


@dataclasses.dataclass(frozen=True)
class FitOptions(FitConfig):
    """Trains a model, then tests it; run again, the same command resumes."""

    config: str | None = option(
        None, "config.json of a run: its values stand for flags that are not given"
    )
    dry_run: bool = option(
        False, "a few steps, then the memory, time and disk that the run needs; no run"
    )
    find_learning_rate: bool = option(
        False, "a few hundred steps at rising rates, then a suggestion; no run"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.dry_run and self.find_learning_rate:
            raise ValueError(
                "dry_run must be left out with find_learning_rate. Received: both"
            )


def parse(argv: Sequence[str]) -> tuple[FitOptions, dict]:
    """Reads the flags of `fit`.

    Returns:
        The options, and the content of the file that `--config` names, or `{}`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no config.json.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    path = parser.parse_known_args(argv)[0].config
    saved, flags = {}, []
    if path is not None:
        saved = read_json(path)
        if not isinstance(saved, dict) or "preset" not in saved:
            raise ValueError(
                f"config must be the config.json of a run. Received: {path}"
            )
        # Another folder, or the command would go on with the run that it repeats.
        flags = flags_of(FitConfig, {**saved, "run_dir": None})
    return parse_args(FitOptions, [*flags, *argv], "fit"), saved
