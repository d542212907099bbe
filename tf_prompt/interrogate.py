"""Ranks the phrases that image files show, and makes them prompts."""

import dataclasses
import sys
import typing

from tf_prompt.interrogation import presets
from tf_prompt.interrogation.config import (
    InterrogationConfig,
    SourceConfig,
    TableConfig,
)
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

EXAMPLES = (
    "python -m tf_prompt.interrogate picture.png",
    "python -m tf_prompt.interrogate FOLDER --mode fast --tables media artists --json",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterrogateConfig(InterrogationConfig, SourceConfig, TableConfig):
    """Ranks the phrases that images show by CLIP, and writes prompts of them."""

    first_groups: typing.ClassVar = ("input", "model", "output")

    paths: tuple[str, ...] = option(
        (),
        "image files and folders",
        positional=True,
        metavar="IMAGE",
        nargs="*",
        group="input",
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

    def __post_init__(self):
        InterrogationConfig.__post_init__(self)
        SourceConfig.__post_init__(self)
        TableConfig.__post_init__(self)
        require_positive(self, "batch_size")
        if bool(self.paths) == (self.list or self.make_tables is not None):
            raise ValueError(
                "one of IMAGE, --list and --make-tables must be given. "
                f"Received: {len(self.paths)} images, list={self.list}, "
                f"make_tables={self.make_tables}"
            )


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(InterrogateConfig, argv, "interrogate", EXAMPLES)
    if options.list:
        print("\n".join(presets.list_presets()))
        return DONE
    if options.make_tables is not None:
        return _make_tables(options)
    import_tensorflow()
    from tf_prompt.data import listing
    from tf_prompt.inference import image_files, loading

    paths = listing.find_images(options.paths, options.recursive)
    interrogator, captioner = loading.load_interrogation(options)
    num_failed = 0
    for result in image_files.interrogate_files(
        interrogator, paths, options.batch_size, captioner
    ):
        num_failed += "error" in result
        show(result, options.json)
    return SOME_FAILED if num_failed else DONE


def _make_tables(options) -> int:
    from tf_prompt.interrogation import table_maker

    sizes = table_maker.make_tables(
        options.make_tables, options.output, options.min_count, options.force
    )
    for name, size in sizes.items():
        print(f"{name}\t{size}")
    return DONE


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
