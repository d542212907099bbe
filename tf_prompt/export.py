"""Exports a run as a SavedModel for TF Serving."""

import dataclasses
import pathlib
import sys

from tf_prompt import config
from tf_prompt.config import option


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Writes OUTPUT/<preset>/<next version>: image bytes in, prompt and score out."""

    run_dir: str = option(dataclasses.MISSING, "folder of a run of tf_prompt.fit")
    output: str = option("saved_models", "folder of all exported models")


@config.command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = config.parse_args(ExportConfig, argv, "export")
    config.import_tensorflow()
    from tf_prompt import evaluation, serving
    from tf_prompt.training import run_folder

    run, vocabulary, model = run_folder.load_run(options.run_dir)
    run_dir = pathlib.Path(options.run_dir)
    metrics = evaluation.output_folder(run_dir, "test") / "metrics.json"
    assets = [run_dir / run_folder.VOCABULARY, run_dir / run_folder.CONFIG, metrics]
    writer = serving.PromptWriter(model, vocabulary)
    folder = pathlib.Path(options.output) / run.preset
    version = serving.export(writer, folder, [a for a in assets if a.is_file()])
    print(version)
    return config.DONE


if __name__ == "__main__":
    sys.exit(main())
