"""Exports a run as a SavedModel, a LiteRT file, or a folder for transformers."""

import dataclasses
import functools
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
from tf_prompt.serving import model_config_file
from tf_prompt.serving.litert import PRECISIONS

SAVED_MODEL, LITERT, TRANSFORMERS = "saved_model", "litert", "transformers"
EXAMPLES = (
    "python -m tf_prompt.export --run-dir runs/transformer_tiny",
    "python -m tf_prompt.export --run-dir RUN --to litert --precision int8",
)


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Writes OUTPUT/NAME/<next version>, a SavedModel, or OUTPUT/NAME-int8.tflite."""

    first_groups: typing.ClassVar = ("run", "output")

    run_dir: str = option(
        dataclasses.MISSING,
        "folder of a run of tf_prompt.fit",
        metavar="DIR",
        group="run",
    )
    output: str = option(
        "saved_models",
        "folder of all exported models",
        metavar="DIR",
        group="output",
    )
    to: str = option(
        SAVED_MODEL,
        "saved_model, which takes encoded images; litert, one file of a captioner that "
        "is read without TensorFlow; transformers, a folder for that library, from "
        "Gemma 3 alone",
        choices=[SAVED_MODEL, LITERT, TRANSFORMERS],
        group="output",
    )
    precision: str = option(
        "float32",
        "precision of a LiteRT file's weights; int8 also multiplies in integers",
        choices=PRECISIONS,
        group="captioners",
    )
    name: str | None = option(
        None,
        "name under which the model is served; exports of the same name become "
        "versions of one model (default: the name of the run's folder)",
        group="output",
    )
    label: str | None = option(
        None,
        "label of the new version in OUTPUT/models.config; an older version loses it",
        choices=list(model_config_file.LABELS),
        group="output",
    )
    keep: int | None = option(
        None,
        "keep the N newest versions, and all that have a label (default: keep all)",
        group="output",
    )
    num_beams: int = option(
        3,
        "number of beams of the signature `beam`",
        group="captioners",
    )
    embed: bool = option(
        True,
        "add the signature `embed`, which includes MiniLM, 90 MB",
        group="captioners",
    )
    int8: bool = option(
        False,
        "write the weights as 8-bit integers, a quarter of the size",
        group="language models",
    )
    bank: str | None = option(
        None,
        "text file of prompts, one per line, from which the nearest is chosen "
        "(default: the training prompts)",
        metavar="FILE",
        group="embedding models",
    )

    def __post_init__(self):
        require_positive(self, "keep", "num_beams")
        if self.name is not None:
            model_config_file.check_name(self.name)
        if self.to != SAVED_MODEL:
            for name in ("label", "keep", "bank", "int8"):
                if getattr(self, name):
                    raise ValueError(
                        f"{name} needs --to {SAVED_MODEL}. "
                        f"Received: {getattr(self, name)}"
                    )
        if self.to != LITERT and self.precision != "float32":
            raise ValueError(
                f"precision needs --to {LITERT}. Received: {self.precision}"
            )


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(ExportConfig, argv, "export", EXAMPLES)
    import_tensorflow()
    exporters = {
        SAVED_MODEL: _export_saved_model,
        LITERT: _export_litert,
        TRANSFORMERS: _export_transformers,
    }
    print(exporters[options.to](options))
    return DONE


def _export_transformers(options: ExportConfig) -> pathlib.Path:
    from tf_prompt.runs.run import Run
    from tf_prompt.serving import transformers_folder

    run = Run(options.run_dir)
    name = options.name or run.path.resolve().name
    return transformers_folder.write(run, pathlib.Path(options.output) / name)


def _export_litert(options: ExportConfig) -> pathlib.Path:
    from tf_prompt.inference.loading import Loader
    from tf_prompt.runs.run import Run
    from tf_prompt.serving.litert import conversion

    run = Run(options.run_dir)
    name = options.name or run.path.resolve().name
    path = pathlib.Path(options.output) / f"{name}-{options.precision}.tflite"
    steps = Loader().load_run(run, embeds=False).steps()
    conversion.export(steps, name, options.precision, path)
    return path


def _export_saved_model(options: ExportConfig) -> pathlib.Path:
    from tf_prompt.evaluation.report import model_card
    from tf_prompt.runs import folder as run_folder
    from tf_prompt.runs.run import Run
    from tf_prompt.serving import names, signatures, versions, warmup

    run, output = Run(options.run_dir), pathlib.Path(options.output)
    run_dir, name = run.path, names.name_model(run, output, options.name)
    models = output / model_config_file.FILE
    # Before the work, so that a damaged file is reported at once.
    labels = model_config_file.read_labels(models, name)
    servable = signatures.load_servable(run, options)
    metrics = run.evaluation_folder("test") / "metrics.json"
    assets = [run_dir / run_folder.VOCABULARY, run_dir / run_folder.CONFIG, metrics]
    steps = [
        lambda path, _: model_card.write_model_card(run_dir, path / "README.md"),
        lambda path, _: names.note_origin(path, run),
    ]
    if warmup.is_available():
        steps.append(functools.partial(warmup.write_requests, model_name=name))
    else:
        print(warmup.MISSING, file=sys.stderr)
    version = versions.export(
        servable, output / name, [a for a in assets if a.is_file()], steps
    )
    if options.label is not None:
        labels[options.label] = int(version.name)
    elif labels:
        print(
            f"version {version.name} is not served until it has a label: see {models}",
            file=sys.stderr,
        )
    loaded = model_config_file.add_model(models, name, labels)
    if options.keep is not None:
        versions.remove_old(output / name, options.keep, loaded)
    return version


if __name__ == "__main__":
    sys.exit(main())
