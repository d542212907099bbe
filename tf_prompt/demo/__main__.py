"""Opens a web page that writes the prompts of pictures."""

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
    """Opens a web page that writes the prompts of pictures; with no run, by CLIP."""

    first_groups: typing.ClassVar = ("model", "output", "server")

    run_dir: tuple[str, ...] = option(
        (),
        "folder of a run of tf_prompt.fit; two are shown side by side",
        group="model",
    )
    saved_model: str | None = option(
        None,
        "folder of one version of an export",
        group="model",
    )
    interrogator: str | None = option(
        None,
        "folder of a CLIP interrogator's run, whose ranked phrases are shown too",
        group="model",
    )
    clip: str | None = option(
        None,
        "with no run: a preset of `interrogate --list`, a preset's folder, or a folder "
        f"in Hugging Face format; {presets.DEFAULT} if not given",
        group="interrogators",
    )
    mode: str = option(
        "classic",
        "with no run: how phrases become a prompt",
        choices=list(MODES),
        group="interrogators",
    )
    tables: tuple[str, ...] | None = option(
        None,
        "with no run: tables that ship, as those of `interrogate`",
        group="interrogators",
    )
    phrases: tuple[str, ...] = option(
        (),
        "with no run: more phrases, as those of `interrogate`",
        group="interrogators",
    )
    bank: str | None = option(
        None,
        "text file of prompts, one per line, of which the nearest are shown; the "
        "training prompts of a run if not given",
        group="model",
    )
    num_prompts: int = option(
        5,
        "prompts, neighbours and phrases to show, of each kind",
        group="output",
    )
    host: str = option(
        "127.0.0.1",
        "address to listen on; 0.0.0.0 listens on all",
        group="server",
    )
    port: int = option(
        7860,
        "port to listen on",
        group="server",
    )
    max_upload_mb: int = option(
        10,
        "largest file accepted, megabytes",
        group="server",
    )
    max_files: int = option(
        100,
        "largest number of images in one batch",
        group="server",
    )
    queue: int = option(
        32,
        "largest number of waiting requests",
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
                "clip goes without --run-dir and --saved-model; --interrogator takes a "
                f"run. Received: clip={self.clip}"
            )
        if not has_model and (self.interrogator or self.bank):
            raise ValueError(
                "interrogator and bank go with --run-dir or --saved-model. "
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
    from tf_prompt.demo import describing, examples
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
        page.serve(blocks, options)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
