"""Ranks phrases by CLIP similarity with images, and builds prompts from them."""

import dataclasses
import sys

from tf_prompt.inference.delivery import ONLY, Delivery, DeliveryConfig, paths_option
from tf_prompt.inference.wording import Wording, load_counter
from tf_prompt.interrogation import presets
from tf_prompt.interrogation.config import (
    InterrogationConfig,
    SourceConfig,
    TableConfig,
)
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
    "python -m tf_prompt.interrogate image.png",
    "python -m tf_prompt.interrogate FOLDER --mode fast --tables media artists --json",
)
# What results depend on, besides their wording.
_IDENTITY = [field.name for field in dataclasses.fields(InterrogationConfig)]
_IDENTITY += ["run_dir", "clip", "tables", "phrases", "captioner", "half"]
_IDENTITY += ["embedding", "embedded"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterrogateConfig(InterrogationConfig, SourceConfig, TableConfig, DeliveryConfig):
    """Ranks phrases by CLIP similarity with images, and builds prompts from them."""

    paths: tuple[str, ...] = paths_option("IMAGE")
    batch_size: int = option(
        16,
        "images per batch",
        group="speed",
    )
    gpu_memory: int | None = gpu_memory_option()
    embedding: bool = option(
        True,
        "with --json and --jsonl: add MiniLM's embedding of the prompt",
        group="output",
    )

    def __post_init__(self):
        InterrogationConfig.__post_init__(self)
        SourceConfig.__post_init__(self)
        TableConfig.__post_init__(self)
        DeliveryConfig.__post_init__(self)
        require_positive(self, "batch_size", "gpu_memory")
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
    delivery = Delivery(options, "interrogate")
    if delivery.is_done:
        return DONE
    if options.embedded == ONLY:
        return delivery.read_embedded()
    import_tensorflow()
    from tf_prompt.inference import image_batches, loading
    from tf_prompt.inference.devices import bound_gpu_memory

    bound_gpu_memory(options.gpu_memory)
    interrogator, captioner = loading.load_interrogation(options)
    tables = list(interrogator.tables)
    count = load_counter(options, interrogator.tokens)
    return delivery.deliver(
        lambda paths: image_batches.interrogate_files(
            interrogator, paths, options.batch_size, captioner, options.shows_embedded
        ),
        Wording(options, ["similarity"], tables, count),
        {name: getattr(options, name) for name in _IDENTITY},
        columns=["similarity"],
        tables=tables,
    )


def _make_tables(options) -> int:
    from tf_prompt.interrogation import table_maker

    sizes = table_maker.make_tables(
        options.make_tables, options.output, options.min_count, options.force
    )
    for name, size in sizes.items():
        print(f"{name}\t{size}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
