"""Writes the competition's submission for a folder of images."""

import dataclasses
import math
import pathlib
import sys
import typing

from tf_prompt.options import (
    DONE,
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
)

EXAMPLES = (
    "python -m tf_prompt.submit --run-dir runs/vit --images kaggle/images",
    "python -m tf_prompt.submit --run-dir runs/clip runs/vit --weights 0.25 0.75 "
    "--images DIR",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubmitConfig:
    """Writes the submission for a folder of images; several runs are averaged."""

    first_groups: typing.ClassVar = ("run", "input", "output")

    run_dir: tuple[str, ...] = option(
        dataclasses.MISSING,
        "folders of runs of tf_prompt.fit; knn:DIR averages the prompts of the nearest "
        "training images by the features of a run",
        metavar="DIR",
        nargs="+",
        action="extend",
        group="run",
    )
    images: str = option(
        dataclasses.MISSING,
        "folder of images",
        metavar="DIR",
        group="input",
    )
    output: str = option(
        "submission.csv",
        "CSV file to write",
        metavar="FILE",
        group="output",
    )
    weights: tuple[float, ...] = option(
        (),
        "one weight per run, in the order of --run-dir (default: equal weights)",
        metavar="X",
        group="run",
    )
    score: str | None = option(
        None,
        "CSV file of imgId and true prompt; prints the competition's metric",
        metavar="FILE",
        group="output",
    )
    sample_submission: str | None = option(
        None,
        "CSV file whose row order to follow; `none` sorts by name (default: "
        "sample_submission.csv in the folder of images or above it, if there is one)",
        metavar="FILE",
        group="input",
    )
    batch_size: int = option(
        16,
        "images per batch",
        group="speed",
    )

    def __post_init__(self):
        require_positive(self, "batch_size")
        if self.weights and len(self.weights) != len(self.run_dir):
            raise ValueError(
                f"weights must be one per run, {len(self.run_dir)}. "
                f"Received: {len(self.weights)}"
            )
        total = sum(self.weights) if self.weights else 1
        if min(self.weights, default=1) < 0 or not 0 < total < math.inf:
            raise ValueError(
                "weights must not be negative, and not all zero. "
                f"Received: {' '.join(map(str, self.weights))}"
            )
        output = pathlib.Path(self.output)
        is_special = output.exists() and not output.is_file()
        if is_special or not output.parent.is_dir():
            raise ValueError(
                f"output must be a file in a folder that exists. Received: {output}"
            )


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(SubmitConfig, argv, "submit", EXAMPLES)
    import_tensorflow()
    from tf_prompt.evaluation import submission
    from tf_prompt.inference import image_batches
    from tf_prompt.inference.loading import Loader
    from tf_prompt.metrics import prompt_embedder

    sample = submission.find_sample(options.images, options.sample_submission)
    paths = submission.find_images(options.images, sample)
    if options.score is not None:
        # Before the work, so that a missing column is not reported hours later.
        prompts = submission.read_true_prompts(options.score, paths)
        embedder = prompt_embedder.load_embedder()
    loader = Loader()
    models = [loader.load(spec) for spec in options.run_dir]
    weights = options.weights or (1.0,) * len(models)
    batches = image_batches.embed_images(models, weights, paths, options.batch_size)
    with submission.SubmissionWriter(options.output, list(paths)) as writer:
        for image_ids, embeddings in batches:
            writer.add(image_ids, embeddings)
    order = f"in the order of {sample}" if sample else "in order of name"
    rows = len(paths) * prompt_embedder.EMBEDDING_DIM
    print(
        f"submit: {len(paths)} images, {rows} rows, {order}: {options.output}",
        file=sys.stderr,
    )
    if options.score is not None:
        cosines = submission.score_submission(options.output, prompts, embedder)
        print(submission.format_score(cosines, prompt_embedder.signature(embedder)))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
