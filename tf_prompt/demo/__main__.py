"""Opens a web page that writes the prompts of pictures."""

import dataclasses
import importlib.util
import os
import sys
import tempfile

from tf_prompt.options import (
    DONE,
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
)
from tf_prompt.runs.machine.devices import gpu_memory_option


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Opens a web page that writes the prompts of pictures."""

    run_dir: tuple[str, ...] = option(
        (), "folder of a run of tf_prompt.fit; of two, both are shown side by side"
    )
    saved_model: str | None = option(None, "folder of one version of an export")
    interrogator: str | None = option(
        None, "folder of a CLIP's run, whose ranked phrases are shown too"
    )
    bank: str | None = option(
        None,
        "text file of prompts, one a line, of which the nearest are shown; the "
        "training prompts of a run if not given",
    )
    num_prompts: int = option(5, "prompts, neighbours and phrases shown of each kind")
    host: str = option("127.0.0.1", "address to listen at; 0.0.0.0 is every one")
    port: int = option(7860, "port to listen at")
    max_upload_mb: int = option(10, "megabytes at most of one file")
    max_files: int = option(100, "pictures at most in one batch")
    queue: int = option(32, "requests at most that wait")
    gpu_memory: int | None = gpu_memory_option()

    def __post_init__(self):
        require_positive(
            self, "num_prompts", "port", "max_upload_mb", "max_files", "queue"
        )
        require_positive(self, "gpu_memory")
        if self.port > 65535:
            raise ValueError(f"port must be at most 65535. Received: {self.port}")
        if bool(self.run_dir) == (self.saved_model is not None):
            raise ValueError(
                "one of --run-dir and --saved-model must be given. "
                f"Received: run_dir={self.run_dir}, saved_model={self.saved_model}"
            )
        if len(self.run_dir) > 2:
            raise ValueError(
                f"run_dir must be one folder or two. Received: {len(self.run_dir)}"
            )


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(DemoConfig, argv, "demo")
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
