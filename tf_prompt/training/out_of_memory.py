"""What a run does when a batch does not fit into memory."""

import dataclasses
import pathlib
import sys

from tf_prompt.files import read_json, write_json
from tf_prompt.runs import checkpoints
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig


def halve(config: FitConfig, run_dir: pathlib.Path) -> FitConfig:
    """Doubles the number of rounds per batch, and updates the run's `config.json`.

    The batch size stays the same.

    Args:
        config: options of the run.
        run_dir: folder of the run.

    Returns:
        The options with which to start again.

    Raises:
        ValueError: if a batch cannot be divided further, or the run has checkpoints,
            which cannot be resumed with another number of rounds.
    """
    rounds = 2 * config.accumulate_steps
    if checkpoints.list_checkpoints(run_dir):
        raise ValueError(
            "out of memory, in a run with checkpoints: begin another with "
            f"--accumulate-steps {rounds}. Received: {config.accumulate_steps}"
        )
    if config.batch_size % rounds:
        raise ValueError(
            f"out of memory: batch_size must be a multiple of {rounds} for as many "
            f"rounds. Received: {config.batch_size}"
        )
    print(
        f"out of memory: each batch of {config.batch_size} in {rounds} rounds; "
        f"to resume the run give --accumulate-steps {rounds}",
        file=sys.stderr,
    )
    path = run_dir / run_folder.CONFIG
    write_json(path, {**read_json(path), "accumulate_steps": rounds})
    return dataclasses.replace(config, accumulate_steps=rounds)
