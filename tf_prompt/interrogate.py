"""Ranks the phrases that image files show, and makes them prompts."""

import dataclasses
import sys
import typing

from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.options import (
    DONE,
    SOME_FAILED,
    command,
    import_tensorflow,
    option,
    parse_args,
    print_json,
    require_positive,
)
from tf_prompt.runs.machine.devices import gpu_memory_option

EXAMPLES = (
    "python -m tf_prompt.interrogate --run-dir runs/clip_interrogator_tiny FOLDER",
    "python -m tf_prompt.interrogate --run-dir RUN --mode classic --json a.png b.png",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterrogateConfig(InterrogationConfig):
    """Ranks the phrases that images show by CLIP, and writes prompts of them."""

    first_groups: typing.ClassVar = ("input", "model", "output")

    paths: tuple[str, ...] = option(
        dataclasses.MISSING,
        "image files and folders",
        positional=True,
        metavar="IMAGE",
        group="input",
    )
    run_dir: str | None = option(
        None,
        "folder of a CLIP's run of tf_prompt.fit",
        group="model",
    )
    clip: str | None = option(
        None,
        "instead: KerasHub CLIP preset or folder, or one of a transformers CLIPModel",
        group="model",
    )
    phrases: tuple[str, ...] = option(
        (),
        "files of one phrase a line, each a table of the file's name",
        group="model",
    )
    captioner: str | None = option(
        None,
        "folder of a captioner's run, whose prompts the modes begin with",
        group="model",
    )
    recursive: bool = option(
        False,
        "search folders inside folders too",
        group="input",
    )
    batch_size: int = option(
        16,
        "images at once",
        group="speed",
    )
    gpu_memory: int | None = gpu_memory_option()
    json: bool = option(
        False,
        "print one JSON object an image, with the phrases",
        group="output",
    )
    embedding: bool = option(
        True,
        "with --json: add MiniLM's embedding of the prompt",
        group="output",
    )
    cache_dir: str | None = option(
        None,
        "folder for embeddings of phrases; phrase_embeddings in the run's folder",
        group="model",
    )

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "batch_size", "gpu_memory")
        if (self.run_dir is None) == (self.clip is None):
            raise ValueError(
                "one of --run-dir and --clip must be given. "
                f"Received: run_dir={self.run_dir}, clip={self.clip}"
            )
        if self.clip is not None and not (self.phrases and self.cache_dir):
            raise ValueError(
                "--clip goes with --phrases and --cache-dir. Received: "
                f"phrases={list(self.phrases)}, cache_dir={self.cache_dir}"
            )


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(InterrogateConfig, argv, "interrogate", EXAMPLES)
    import_tensorflow()
    from tf_prompt.data import listing
    from tf_prompt.inference import image_files, loading
    from tf_prompt.inference.devices import bound_gpu_memory

    bound_gpu_memory(options.gpu_memory)
    paths = listing.find_images(options.paths, options.recursive)
    interrogator, captioner = loading.load_interrogation(options)
    num_failed = 0
    for result in image_files.interrogate_files(
        interrogator, paths, options.batch_size, captioner
    ):
        num_failed += "error" in result
        show(result, options.json)
    return SOME_FAILED if num_failed else DONE


def show(result: dict, as_json: bool) -> None:
    """Prints a result; in plain text an error goes to stderr."""
    if as_json:
        print_json(result)
    elif "error" in result:
        message = f"interrogate: error: {result['path']}: {result['error']}"
        print(message, file=sys.stderr)
    else:
        print(f"{result['path']}\t{result['similarity']:.3f}\t{result['prompt']}")
        for table, pairs in result["phrases"].items():
            scored = (f"{phrase} ({score:.3f})" for phrase, score in pairs)
            print(f"    {table}: {', '.join(scored)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
