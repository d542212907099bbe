"""Writes the prompts of image files."""

import csv
import dataclasses
import json
import pathlib
import sys

from tf_prompt import config
from tf_prompt.config import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(config.DecodingConfig):
    """Writes the prompts of image files and of the images in folders."""

    paths: tuple[str, ...] = option(
        dataclasses.MISSING, "image files and folders", positional=True, metavar="PATH"
    )
    run_dir: str | None = option(None, "folder of a run of tf_prompt.fit")
    saved_model: str | None = option(None, "folder of one version of an export")
    recursive: bool = option(False, "search folders inside folders too")
    batch_size: int = option(16, "images written about at once")
    json: bool = option(False, "print one JSON object an image")
    csv: str | None = option(
        None, "also write a CSV file of path, prompt, score, error"
    )
    sidecar: bool = option(False, "also write each prompt into a .txt beside its image")
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
    from tf_prompt import images, prediction
    from tf_prompt.training import run_folder

    paths = images.find_images(options.paths, options.recursive)
    decoding = config.take_options(config.DecodingConfig, options)
    strips = None
    if options.saved_model is not None:
        writer = prediction.load_saved_model(options.saved_model, decoding)
    else:
        _, vocabulary, model = run_folder.load_run(options.run_dir)
        writer = prediction.build_writer(model, vocabulary, decoding)
        if options.attention is not None:
            from tf_prompt.attention_strip import AttentionStrips

            strips = AttentionStrips(model, vocabulary, options.attention)
    results = []
    for result in prediction.predict(writer, paths, options.batch_size):
        results.append(result)
        show(result, options.json)
        if options.sidecar and "prompt" in result:
            sidecar = pathlib.Path(result["path"]).with_suffix(".txt")
            sidecar.write_text(result["prompt"] + "\n", encoding="utf-8")
        if strips and "prompt" in result:
            strips.write(result["path"], result["prompt"])
    if options.csv:
        write_csv(results, options.csv)
    num_failed = sum("error" in result for result in results)
    if num_failed == len(results):
        return config.WRONG_USE
    return config.SOME_FAILED if num_failed else config.DONE


def show(result: dict, as_json: bool) -> None:
    """Prints a result; in plain text an error goes to stderr."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False), flush=True)
    elif "error" in result:
        message = f"predict: error: {result['path']}: {result['error']}"
        print(message, file=sys.stderr)
    else:
        print(f"{result['path']}\t{result['prompt']}", flush=True)


def write_csv(results, path: str) -> None:
    """Writes results, one line an image."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "prompt", "score", "error"])
        writer.writeheader()
        writer.writerows(results)


if __name__ == "__main__":
    sys.exit(main())
