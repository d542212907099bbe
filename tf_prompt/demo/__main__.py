"""Opens a web page that writes the prompts of images."""

import dataclasses
import importlib.util
import os
import sys
import tempfile
import typing

from tf_prompt.interrogation import presets, table_sources
from tf_prompt.interrogation.config import MODES
from tf_prompt.options import (
    DONE,
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
)
from tf_prompt.runs.machine.devices import gpu_memory_option

EXAMPLES = (
    "python -m tf_prompt.demo --run-dir runs/transformer_tiny",
    "python -m tf_prompt.demo --saved-model saved_models/prompt/1 --port 8000",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Opens a web page that writes the prompts of images; without a run, by CLIP."""

    first_groups: typing.ClassVar = ("model", "output", "server")

    run_dir: tuple[str, ...] = option(
        (),
        "folder of a run of tf_prompt.fit; two are shown side by side",
        metavar="DIR",
        group="model",
    )
    saved_model: str | None = option(
        None,
        "folder of one version of an export, such as saved_models/NAME/1",
        metavar="DIR",
        group="model",
    )
    interrogator: str | None = option(
        None,
        "folder of a CLIP interrogator's run; shows its ranked phrases too",
        metavar="DIR",
        group="model",
    )
    clip: str | None = option(
        None,
        "without a run: a preset of `interrogate --list`, a preset's folder, or a "
        f"folder in Hugging Face format (default: {presets.DEFAULT})",
        metavar="PRESET",
        group="interrogators",
    )
    mode: str = option(
        "classic",
        "without a run: how a prompt is built from phrases",
        choices=list(MODES),
        group="interrogators",
    )
    tables: tuple[str, ...] | None = option(
        None,
        "without a run: built-in tables, as in `interrogate`",
        metavar="NAME",
        group="interrogators",
    )
    phrases: tuple[str, ...] = option(
        (),
        "without a run: more phrases, as in `interrogate`",
        metavar="FILE",
        group="interrogators",
    )
    bank: str | None = option(
        None,
        "text file of prompts, one per line, of which the nearest are shown (default: "
        "the training prompts of the run)",
        metavar="FILE",
        group="model",
    )
    num_prompts: int = option(
        5,
        "number of prompts, neighbours and phrases to show",
        group="output",
    )
    host: str = option(
        "127.0.0.1",
        "address to listen on; 0.0.0.0 is all of this machine",
        group="server",
    )
    port: int = option(
        7860,
        "port to listen on",
        group="server",
    )
    max_upload_mb: int = option(
        10,
        "maximum size of an uploaded file in megabytes",
        group="server",
    )
    max_files: int = option(
        100,
        "maximum number of images in one batch",
        group="server",
    )
    queue: int = option(
        32,
        "maximum number of waiting requests",
        group="server",
    )
    gpu_memory: int | None = gpu_memory_option()

    def __post_init__(self):
        require_positive(
            self, "num_prompts", "port", "max_upload_mb", "max_files", "queue"
        )
        require_positive(self, "gpu_memory")
        if self.port > 65535:
            raise ValueError(f"port must be at most 65535. Received: {self.port}")
        has_model = bool(self.run_dir) or self.saved_model is not None
        if self.run_dir and self.saved_model is not None:
            raise ValueError(
                "one of --run-dir and --saved-model may be given. "
                f"Received: run_dir={self.run_dir}, saved_model={self.saved_model}"
            )
        if has_model and self.clip is not None:
            raise ValueError(
                "clip must be left out with --run-dir and --saved-model; beside them, "
                f"--interrogator takes a run. Received: clip={self.clip}"
            )
        if not has_model and (self.interrogator or self.bank):
            raise ValueError(
                "interrogator and bank need --run-dir or --saved-model. "
                f"Received: interrogator={self.interrogator}, bank={self.bank}"
            )
        table_sources.check_names(self.tables or ())
        if len(self.run_dir) > 2:
            raise ValueError(
                f"run_dir must be one folder or two. Received: {len(self.run_dir)}"
            )


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(DemoConfig, argv, "demo", EXAMPLES)
    # Before the models, which take long to load.
    if importlib.util.find_spec("gradio") is None:
        raise ValueError('the web page needs an extra: pip install "tf_prompt[demo]"')
    import_tensorflow()
    from tf_prompt.demo import background, describing, examples
    from tf_prompt.inference.devices import bound_gpu_memory
    from tf_prompt.runs.run import Run

    bound_gpu_memory(options.gpu_memory)
    describer = describing.load_describer(options)
    with tempfile.TemporaryDirectory(prefix="tf_prompt-demo-") as folder:
        # Gradio reads both when it is imported; uploads go with the folder.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_TEMP_DIR"] = folder
        from tf_prompt.demo import page

        runs = [Run(run_dir) for run_dir in options.run_dir]
        shown = examples.write_examples(runs, folder)
        blocks = page.build_page(describer, folder, shown, options)
        page.serve(blocks, options, describer.start)
    return background.leave(DONE)


if __name__ == "__main__":
    sys.exit(main())
