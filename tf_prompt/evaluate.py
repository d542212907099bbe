"""Measures a run on a split: scores with intervals, baselines, signs of collapse."""

import dataclasses
import json
import os
import re
import sys
import typing

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.options import (
    DONE,
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
    take_options,
)
from tf_prompt.runs import workers
from tf_prompt.runs.machine.devices import gpu_memory_option

EXAMPLES = (
    "python -m tf_prompt.evaluate --run-dir runs/transformer_tiny",
    "python -m tf_prompt.evaluate --run-dir runs/fold0 runs/fold1 runs/fold2",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(DecodingConfig):
    """Measures a run on a split; writes metrics, predictions and a gallery."""

    first_groups: typing.ClassVar = ("run", "output")

    run_dir: tuple[str, ...] = option(
        dataclasses.MISSING,
        "folder of a run of tf_prompt.fit; of several, each on another fold of "
        "write_records --fold, all test images are measured together",
        metavar="DIR",
        nargs="+",
        action="extend",
        group="run",
    )
    split: str = option(
        "test",
        "split to measure",
        choices=["train", "validation", "test"],
        group="run",
    )
    data: str | None = option(
        None,
        "`toy`, or a folder of shards (default: the data of the run)",
        group="run",
    )
    metrics: tuple[str, ...] = option(
        (),
        "metrics to compute (default: all)",
        metavar="NAME",
        group="output",
    )
    meteor: str = option(
        "nltk",
        "program that computes METEOR",
        choices=["nltk", "java"],
        group="output",
    )
    protocol: str | None = option(
        None,
        "lexica: also score modifiers, the parts of a prompt after its first comma, "
        "and show published numbers",
        choices=["lexica"],
        group="output",
    )
    clip: str | None = option(
        None,
        "with --protocol lexica: a CLIP for the semantic similarity of prompts, a "
        "preset of tf_prompt.interrogate --list or a folder",
        metavar="PRESET",
        group="output",
    )
    recognise: str | None = option(
        None,
        "regular expression of a part of the prompt, such as 'by (.+)$': how often "
        "that of the true prompt is the first guess, or among five",
        group="output",
    )
    batch_size: int = option(
        64,
        "images per batch",
        group="speed",
    )
    limit: int | None = option(
        None,
        "maximum number of examples (default: all)",
        group="speed",
    )
    neighbours: int | None = option(
        None,
        "maximum number of training images that the nearest-neighbour baseline "
        "searches (default: all)",
        group="speed",
    )
    explain: int | None = option(
        None,
        "compare N examples word by word, from the best to the worst",
        group="output",
    )
    share: str | None = option(
        None,
        "divide the prompts among COUNT processes, numbered from 0; process 0 waits "
        "for the others and measures all (default: the share of TF_CONFIG)",
        metavar="INDEX/COUNT",
        group="devices",
    )
    gpu_memory: int | None = gpu_memory_option()
    json: bool = option(
        False,
        "print the content of metrics.json and nothing else",
        group="output",
    )

    def __post_init__(self):
        super().__post_init__()
        require_positive(
            self, "batch_size", "limit", "neighbours", "explain", "gpu_memory"
        )
        workers.parse_share(self.share)
        self._check_folds()
        try:
            re.compile(self.recognise or "")
        except re.error as error:
            raise ValueError(
                f"recognise must be a regular expression. Received: {self.recognise}, "
                f"{error}"
            ) from error
        if self.clip and not self.protocol:
            raise ValueError(f"clip needs --protocol lexica. Received: {self.clip}")
        if self.json and self.explain:
            raise ValueError("explain must be left out with --json. Received: both")
        if self.meteor == "java" and self.metrics and "meteor" not in self.metrics:
            raise ValueError(
                "metrics must hold meteor with --meteor java. "
                f"Received: {', '.join(self.metrics)}"
            )

    def _check_folds(self) -> None:
        """What a single run can do and several cannot."""
        if len(self.run_dir) < 2:
            return
        if len({os.path.realpath(folder) for folder in self.run_dir}) < len(
            self.run_dir
        ):
            raise ValueError(
                "run_dir must name each folder once. "
                f"Received: {', '.join(self.run_dir)}"
            )
        for name in ("data", "recognise", "share"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} must be left out with several run_dir. "
                    f"Received: {getattr(self, name)}"
                )
        if self.meteor == "java":
            raise ValueError("meteor must be nltk with several run_dir. Received: java")


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(EvaluateConfig, argv, "evaluate", EXAMPLES)
    from tf_prompt.metrics import health, meteor_java, overlap

    # Before TensorFlow loads, so that a missing program is reported at once.
    java_meteor = meteor_java.JavaMeteor() if options.meteor == "java" else None
    import_tensorflow()
    from tf_prompt.evaluation import evaluator, scoring
    from tf_prompt.inference.devices import bound_gpu_memory

    bound_gpu_memory(options.gpu_memory)
    metrics, rows = measure(options, java_meteor)
    if metrics is None:
        print("evaluate: this share is done; share 0 measures all", file=sys.stderr)
        return DONE
    for sign in health.find_collapse(
        *([row[name] for row in rows] for name in ("reference", "prediction", "ended"))
    ):
        print(f"evaluate: warning: the model has collapsed: {sign}", file=sys.stderr)
    if options.json:
        for name in scoring.OWN_FILES:
            metrics.pop(name, None)
        print(json.dumps(metrics))
    else:
        print(evaluator.format_result(metrics))
    if options.explain:
        print(f"\n{overlap.explain(rows, options.explain)}")
    return DONE


def measure(
    options: EvaluateConfig, java_meteor=None
) -> tuple[dict | None, list[dict]]:
    """Measures a run of any kind of model, or the runs of several folds.

    Args:
        options: the options of the command.
        java_meteor: computes METEOR and is closed afterwards; None takes NLTK's.

    Returns:
        As `evaluator.evaluate_run`, or as `evaluator.evaluate_folds`.
    """
    from tf_prompt.evaluation import evaluator
    from tf_prompt.evaluation.semantic import SemanticSimilarity
    from tf_prompt.metrics.score import ALL_METRICS

    given = {
        "split": options.split,
        "metrics": options.metrics or ALL_METRICS,
        "batch_size": options.batch_size,
        "limit": options.limit,
        "protocol": options.protocol,
        "semantic": SemanticSimilarity(options.clip) if options.clip else None,
        "neighbours": options.neighbours,
        "decoding": take_options(DecodingConfig, options),
    }
    if len(options.run_dir) > 1:
        return evaluator.evaluate_folds(options.run_dir, **given)
    return evaluator.evaluate_run(
        options.run_dir[0],
        data=options.data,
        recognise=options.recognise,
        java_meteor=java_meteor,
        workers=workers.parse_share(options.share),
        **given,
    )


if __name__ == "__main__":
    sys.exit(main())
