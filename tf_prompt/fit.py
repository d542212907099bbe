"""Trains a model and tests it: the main job."""

import pathlib
import sys

from tf_prompt import config
from tf_prompt.training import fit_options

NUM_SHOWN = 10
# Those that take seconds; `evaluate` computes all.
QUICK_METRICS = ("bleu", "meteor")
NUM_NEIGHBOURS = 1000


@config.command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options, saved = fit_options.parse(sys.argv[1:] if argv is None else argv)
    config.import_tensorflow()
    from tf_prompt import ensemble_fit, ensembling
    from tf_prompt.models import presets
    from tf_prompt.training import (
        dry_run,
        interruption,
        learning_rate_finder,
        loop,
        run_folder,
        strategy,
    )

    run = config.take_options(config.FitConfig, options)
    run_dir = pathlib.Path(run.run_dir or f"runs/{run.preset}")
    run_folder.compare_with(saved, run)
    kind = presets.kind(run.preset)
    if options.dry_run or options.find_learning_rate:
        attempt = dry_run.rehearse if options.dry_run else learning_rate_finder.find
        print(attempt(run, run_dir))
        return config.DONE
    if kind == "ensemble":
        comparison = ensemble_fit.fit_ensemble(run, run_dir)
        print(ensembling.format_table(comparison) + "\n")
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
    return config.DONE


def _report(run_dir, kind) -> None:
    """Tests the run on a part of the test split, and says what may follow."""
    from tf_prompt import embedding_evaluation, evaluation

    if kind == "captioner":
        metrics, rows = evaluation.evaluate_run(
            run_dir, metrics=QUICK_METRICS, neighbours=NUM_NEIGHBOURS
        )
    else:
        metrics, rows = embedding_evaluation.evaluate_embeddings(
            run_dir, metrics=("cosine", *QUICK_METRICS), neighbours=NUM_NEIGHBOURS
        )
    print(evaluation.format_metrics(metrics))
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


if __name__ == "__main__":
    sys.exit(main())
