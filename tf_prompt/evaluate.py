"""Measures a run on a split: scores with intervals, baselines, health."""

import dataclasses
import json
import sys

from tf_prompt import config
from tf_prompt.config import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(config.DecodingConfig):
    """Measures a run on a split; writes metrics.json and predictions.csv."""

    run_dir: str = option(dataclasses.MISSING, "folder of a run of tf_prompt.fit")
    split: str = option(
        "test", "split to measure", choices=["train", "validation", "test"]
    )
    data: str | None = option(
        None, "`toy` or a folder of shards; that of the run if not given"
    )
    metrics: tuple[str, ...] = option(
        ("bleu", "meteor", "bertscore_f1", "cosine", "cider_d"), "what to compute"
    )
    batch_size: int = option(64, "images written about at once")
    limit: int | None = option(None, "examples at most; all if not given")
    neighbours: int = option(
        10000, "training images that the nearest-neighbour baseline searches"
    )
    json: bool = option(False, "print the content of metrics.json and nothing else")

    def __post_init__(self):
        super().__post_init__()
        config.require_positive(self, "batch_size", "limit", "neighbours")


@config.command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = config.parse_args(EvaluateConfig, argv, "evaluate")
    config.import_tensorflow()
    from tf_prompt import evaluation
    from tf_prompt.metrics import health

    metrics, rows = evaluation.evaluate_run(
        options.run_dir,
        options.split,
        options.data,
        options.metrics,
        options.batch_size,
        options.limit,
        options.neighbours,
        config.DecodingConfig.of(options),
    )
    for sign in health.find_collapse(
        *([row[name] for row in rows] for name in ("reference", "prediction", "ended"))
    ):
        print(f"evaluate: warning: the model collapses: {sign}", file=sys.stderr)
    print(json.dumps(metrics) if options.json else evaluation.format_metrics(metrics))
    return config.DONE


if __name__ == "__main__":
    sys.exit(main())
