"""Exports a run as a SavedModel for TF Serving."""

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

EXAMPLES = (
    "python -m tf_prompt.export --run-dir runs/transformer_tiny",
    "python -m tf_prompt.export --run-dir RUN --name prompt --label canary --keep 3",
)


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Writes OUTPUT/NAME/<next version>, a SavedModel that takes encoded images."""

    first_groups: typing.ClassVar = ("run", "output")

    run_dir: str = option(
        dataclasses.MISSING,
        "folder of a run of tf_prompt.fit",
        group="run",
    )
    output: str = option(
        "saved_models",
        "folder of all exported models",
        group="output",
    )
    to: str = option(
        "saved_model",
        "saved_model for TF Serving, or transformers: a folder that the library of "
        "that name reads, of Gemma 3 alone",
        choices=["saved_model", "transformers"],
        group="output",
    )
    name: str | None = option(
        None,
        "name the model is served under; the name of the run's folder if not given. "
        "Runs with the same NAME become versions of one model",
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
        "keep this many of the newest versions, and all that have a label; all "
        "versions if not given",
        group="output",
    )
    num_beams: int = option(
        3,
        "beams of the signature `beam`",
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
        "text file of prompts, one per line, from which the nearest is chosen; the "
        "training prompts if not given",
        group="embedding models",
    )

    def __post_init__(self):
        require_positive(self, "keep", "num_beams")
        if self.to == "transformers" and (self.label or self.keep or self.int8):
            raise ValueError(
                "label, keep and int8 must be left out with to=transformers. "
                f"Received: label={self.label}, keep={self.keep}, int8={self.int8}"
            )
        if self.name is not None:
            model_config_file.check_name(self.name)


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(ExportConfig, argv, "export", EXAMPLES)
    import_tensorflow()
    from tf_prompt.evaluation.report import model_card
    from tf_prompt.runs import folder as run_folder
    from tf_prompt.runs.run import Run
    from tf_prompt.serving import (
        names,
        signatures,
        transformers_folder,
        versions,
        warmup,
    )

    run, output = Run(options.run_dir), pathlib.Path(options.output)
    if options.to == "transformers":
        print(transformers_folder.write(run, output / (options.name or run.path.name)))
        return DONE
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
    print(version)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
