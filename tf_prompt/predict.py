"""Writes the prompts of image files."""

import contextlib
import dataclasses
import sys

from tf_prompt import config, decoding_config
from tf_prompt.config import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(decoding_config.DecodingConfig):
    """Writes the prompts of image files and of the images in folders."""

    paths: tuple[str, ...] = option(
        dataclasses.MISSING,
        "image files and folders; - reads paths from standard input, one a line",
        positional=True,
        metavar="PATH",
    )
    run_dir: str | None = option(None, "folder of a run of tf_prompt.fit")
    saved_model: str | None = option(None, "folder of one version of an export")
    recursive: bool = option(False, "search folders inside folders too")
    batch_size: int = option(16, "images written about at once")
    json: bool = option(False, "print one JSON object an image")
    csv: str | None = option(
        None, "also write a CSV file of path, prompt, score, error; resumes"
    )
    jsonl: str | None = option(None, "also write a file of JSON lines; resumes")
    sidecar: bool = option(False, "also write each prompt into a .txt beside its image")
    skip_existing: bool = option(False, "pass over images that have a .txt beside them")
    write_metadata: str | None = option(
        None, "folder for copies of the images with the prompt in PNG text or EXIF"
    )
    bank: str | None = option(
        None,
        "models of embeddings: text file of prompts, one a line, of which the nearest "
        "is written; the training prompts if not given",
    )
    attention: str | None = option(
        None,
        "folder for a PNG an image that shows where the model looked for each word",
    )

    def __post_init__(self):
        super().__post_init__()
        config.require_positive(self, "batch_size")
        if (self.run_dir is None) == (self.saved_model is None):
            raise ValueError(
                "one of --run-dir and --saved-model must be given. "
                f"Received: run_dir={self.run_dir}, saved_model={self.saved_model}"
            )
        if self.attention is not None and self.run_dir is None:
            raise ValueError(
                f"attention needs --run-dir. Received: saved_model={self.saved_model}"
            )


@config.command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = config.parse_args(PredictConfig, argv, "predict")
    config.import_tensorflow()
    from tf_prompt import prediction, result_files

    paths = result_files.find_paths(options.paths, options.recursive)
    if options.skip_existing:
        paths = [p for p in paths if not result_files.sidecar_of(p).exists()]
    decoding = config.take_options(decoding_config.DecodingConfig, options)
    if options.saved_model is not None:
        strips = None
        writer = prediction.load_saved_model(options.saved_model, decoding)
    else:
        # A SavedModel needs none of what this imports.
        from tf_prompt import run_writers

        writer, strips = run_writers.load_with_attention(
            options.run_dir, decoding, options.bank, options.attention
        )
    failures = []
    with contextlib.ExitStack() as stack:
        tables = result_files.open_tables(options, dataclasses.asdict(decoding), stack)
        left = result_files.without_done(paths, tables)
        for result in prediction.predict(writer, left, options.batch_size):
            result_files.show(result, options.json)
            if "error" in result:
                failures.append(result)
            else:
                result_files.write_beside(result, options, strips)
            # Last: a row says that all of the image is done.
            for table in tables:
                table.add(result)
    result_files.report_failures(failures, len(left))
    if failures and len(failures) == len(left):
        return config.WRONG_USE
    return config.SOME_FAILED if failures else config.DONE


if __name__ == "__main__":
    sys.exit(main())
