"""Trains a model and tests it: the main job."""

import argparse
import dataclasses
import pathlib
import sys
import typing
from collections.abc import Sequence

from tf_prompt.files import read_json
from tf_prompt.options import (
    DONE,
    command,
    expand_home,
    flags_of,
    import_tensorflow,
    option,
    parse_args,
    take_options,
)
from tf_prompt.runs.config import FitConfig

EXAMPLES = (
    "python -m tf_prompt.fit",
    "python -m tf_prompt.fit --preset lstm_base --data SHARDS --run-dir runs/lstm",
)
NUM_SHOWN = 10
# Arguments that a command needs besides the run.
_ARGUMENTS = {
    "interrogate": "IMAGE...",
    "predict": "IMAGE...",
    "submit": "--images DIR --output F",
    "export": "--output saved_models",
}


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options, saved = parse(sys.argv[1:] if argv is None else argv)
    import_tensorflow()
    from tf_prompt.inference.devices import bound_gpu_memory
    from tf_prompt.runs import folder as run_folder
    from tf_prompt.training import (
        dry_run,
        interruption,
        learning_rate_finder,
        loop,
        recipes,
        strategy,
    )

    run = take_options(FitConfig, options)
    if saved:
        run = recipes.without_meaningless(run, saved)
    bound_gpu_memory(run.gpu_memory)
    announce(run)
    run_dir = pathlib.Path(run.run_dir or f"runs/{run.preset}")
    run_folder.compare_with(saved, run)
    if options.dry_run or options.find_learning_rate:
        attempt = dry_run.rehearse if options.dry_run else learning_rate_finder.find
        print(attempt(run, run_dir))
        return DONE
    try:
        loop.train(run, run_dir)
        found = strategy.find_workers(run.strategy)
        if found and not found.is_chief:
            raise interruption.Stopped("trained; the first worker tests the run", 0)
    except interruption.Stopped as stop:
        print(f"fit: {stop}", file=sys.stderr)
        return stop.exit_code
    report(run_dir)
    return DONE


def announce(run: FitConfig) -> None:
    """Reports on stderr which devices will train, before anything that takes time.

    Raises:
        FileNotFoundError, ValueError: if the options or the data are wrong. Nothing
            else is printed then.
    """
    from tf_prompt.data import folder
    from tf_prompt.training import recipes, strategy, tasks

    recipes.complete(run)
    if run.data != "toy":
        folder.find_data(run.data)
    half = tasks.of(run.preset).half_precision.removeprefix("mixed_")
    for line in strategy.describe_devices(run, half):
        print(f"fit: {line}", file=sys.stderr)


def report(run_dir: pathlib.Path) -> None:
    """Tests a run on the test split, prints examples, and suggests what to do next.

    Args:
        run_dir: folder of a trained run, to which the evaluation is added.
    """
    from tf_prompt.data.records import list_splits
    from tf_prompt.models import presets
    from tf_prompt.runs.run import Run
    from tf_prompt.training import tasks

    run = Run(run_dir)
    task = tasks.of(run.preset)
    if summary := task.summarise(run_dir):
        print(f"{summary}\n")
    folder, flags = run.find_data(), f"--run-dir {run_dir}"
    if "test" in list_splits(folder):
        _test(run_dir, task)
    else:
        flags += " --split validation"
        print(f"fit: not tested: the test split of {folder} is empty", file=sys.stderr)
    if task.protocol:
        flags += f" --protocol {task.protocol}"
    print(f"\nThe run is in {run_dir}. What next:")
    print(f"  python -m tf_prompt.evaluate {flags}")
    for verb in presets.facts(run.preset).verbs:
        print(f"  python -m tf_prompt.{verb} --run-dir {run_dir} {_ARGUMENTS[verb]}")


def _test(run_dir, task) -> None:
    from tf_prompt.evaluation import evaluator

    metrics, rows = evaluator.evaluate_run(
        run_dir, metrics=task.report_metrics, protocol=task.protocol
    )
    print(evaluator.format_result(metrics))
    # Several images often share a prompt: show it once.
    distinct = {row["reference"]: row for row in reversed(rows)}
    for row in list(reversed(distinct.values()))[:NUM_SHOWN]:
        print(f"\ntrue:      {row['reference']}\npredicted: {row['prediction']}")


@dataclasses.dataclass(frozen=True)
class FitOptions(FitConfig):
    """Trains a model and tests it; the same command resumes an interrupted run."""

    first_groups: typing.ClassVar = ("run", "data", "learning", "model")

    config: str | None = option(
        None,
        "config.json of a run, whose values replace the defaults of the flags",
        metavar="FILE",
        group="run",
    )
    dry_run: bool = option(
        False,
        "train a few steps and print the memory, time and disk space that a run needs",
        group="instead of a run",
    )
    find_learning_rate: bool = option(
        False,
        "train a few hundred steps at rising learning rates and suggest one",
        group="instead of a run",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.dry_run and self.find_learning_rate:
            raise ValueError(
                "dry_run and find_learning_rate exclude each other. Received: both"
            )


def parse(argv: Sequence[str]) -> tuple[FitOptions, dict]:
    """Reads the flags of `fit`.

    Returns:
        The options, and the content of the file that `--config` names, or `{}`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not the config.json of a run.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=expand_home)
    path = parser.parse_known_args(argv)[0].config
    saved, flags = {}, []
    if path is not None:
        saved = read_json(path)
        if not isinstance(saved, dict) or "preset" not in saved:
            raise ValueError(
                f"config must be the config.json of a run. Received: {path}"
            )
        # Without the run's folder, or the command would resume that run.
        flags = flags_of(FitConfig, {**saved, "run_dir": None})
    return parse_args(FitOptions, [*flags, *argv], "fit", EXAMPLES), saved


if __name__ == "__main__":
    sys.exit(main())
