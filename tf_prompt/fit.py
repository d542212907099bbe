"""Trains a model and tests it: the main job."""

import argparse
import dataclasses
import pathlib
import sys
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

NUM_SHOWN = 10
# Those that take seconds; `evaluate` computes all.
QUICK_METRICS = ("bleu", "meteor")
NUM_NEIGHBOURS = 1000


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options, saved = parse(sys.argv[1:] if argv is None else argv)
    import_tensorflow()
    from tf_prompt.models import presets
    from tf_prompt.runs import folder as run_folder
    from tf_prompt.training import (
        dry_run,
        ensemble_comparison,
        interruption,
        learning_rate_finder,
        loop,
        strategy,
    )
    from tf_prompt.training.tasks import ensembling as tasks_ensembling

    run = take_options(FitConfig, options)
    run_dir = pathlib.Path(run.run_dir or f"runs/{run.preset}")
    run_folder.compare_with(saved, run)
    kind = presets.kind(run.preset)
    if options.dry_run or options.find_learning_rate:
        attempt = dry_run.rehearse if options.dry_run else learning_rate_finder.find
        print(attempt(run, run_dir))
        return DONE
    if kind == "ensemble":
        comparison = tasks_ensembling.fit_ensemble(run, run_dir)
        print(ensemble_comparison.format_table(comparison) + "\n")
    else:
        try:
            loop.train(run, run_dir)
            found = strategy.find_workers(run.strategy)
            if found and not found.is_chief:
                raise interruption.Stopped("trained; the first worker tests the run", 0)
        except interruption.Stopped as stop:
            print(f"fit: {stop}", file=sys.stderr)
            return stop.exit_code
    _report(run_dir, kind)
    return DONE


def _report(run_dir, kind) -> None:
    """Tests the run on a part of the test split, and says what may follow."""
    from tf_prompt.evaluation import evaluator

    if kind == "captioner":
        metrics, rows = evaluator.evaluate_run(
            run_dir, metrics=QUICK_METRICS, neighbours=NUM_NEIGHBOURS
        )
    else:
        metrics, rows = evaluator.evaluate_embeddings(
            run_dir, metrics=("cosine", *QUICK_METRICS), neighbours=NUM_NEIGHBOURS
        )
    print(evaluator.format_metrics(metrics))
    # A prompt often made several pictures: show it once.
    distinct = {row["reference"]: row for row in reversed(rows)}
    for row in list(reversed(distinct.values()))[:NUM_SHOWN]:
        print(f"\ntrue:      {row['reference']}\npredicted: {row['prediction']}")
    print(f"\nThe run is in {run_dir}. What next:")
    print(f"  python -m tf_prompt.evaluate --run-dir {run_dir}")
    print(f"  python -m tf_prompt.predict --run-dir {run_dir} IMAGE...")
    print(f"  python -m tf_prompt.export --run-dir {run_dir} --output saved_models")
    if kind != "captioner":
        print(
            f"  python -m tf_prompt.submit --run-dir {run_dir} --images DIR --output F"
        )


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
    parser.add_argument("--config", type=expand_home)
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


if __name__ == "__main__":
    sys.exit(main())
