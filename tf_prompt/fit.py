"""Trains a model and tests it: the main job."""

import pathlib
import sys

from tf_prompt import config

NUM_SHOWN = 10
# Those that take seconds; `evaluate` computes all.
QUICK_METRICS = ("bleu", "meteor")
NUM_NEIGHBOURS = 1000


@config.command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = config.parse_args(config.FitConfig, argv, "fit")
    config.import_tensorflow()
    from tf_prompt import embedding_evaluation, ensemble_fit, ensembling, evaluation
    from tf_prompt.models import presets
    from tf_prompt.training import loop

    run_dir = pathlib.Path(options.run_dir or f"runs/{options.preset}")
    kind = presets.kind(options.preset)
    if kind == "ensemble":
        comparison = ensemble_fit.fit_ensemble(options, run_dir)
        print(ensembling.format_table(comparison) + "\n")
    else:
        loop.train(options, run_dir)
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
    if kind == "captioner":
        print(f"  python -m tf_prompt.export --run-dir {run_dir} --output saved_models")
    else:
        print(
            f"  python -m tf_prompt.submit --run-dir {run_dir} --images DIR --output F"
        )
    return config.DONE


if __name__ == "__main__":
    sys.exit(main())
