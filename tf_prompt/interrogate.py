"""Ranks the phrases that image files show, and makes them prompts."""

import dataclasses
import sys

from tf_prompt.inference.delivery import ONLY, Delivery, DeliveryConfig
from tf_prompt.inference.wording import Wording, load_counter
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.options import (
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
)

EXAMPLES = (
    "python -m tf_prompt.interrogate --run-dir runs/clip_interrogator_tiny FOLDER",
    "python -m tf_prompt.interrogate --run-dir RUN --mode classic --json a.png b.png",
)
# What results depend on, besides their wording.
_IDENTITY = [field.name for field in dataclasses.fields(InterrogationConfig)]
_IDENTITY += ["run_dir", "clip", "phrases", "captioner", "embedding", "embedded"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterrogateConfig(InterrogationConfig, DeliveryConfig):
    """Ranks the phrases that images show by CLIP, and writes prompts of them."""

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
    batch_size: int = option(
        16,
        "images at once",
        group="speed",
    )
    embedding: bool = option(
        True,
        "with --json and --jsonl: add MiniLM's embedding of the prompt",
        group="output",
    )
    cache_dir: str | None = option(
        None,
        "folder for embeddings of phrases; phrase_embeddings in the run's folder",
        group="model",
    )

    def __post_init__(self):
        InterrogationConfig.__post_init__(self)
        DeliveryConfig.__post_init__(self)
        require_positive(self, "batch_size")
        if self.embedded == ONLY and self.run_dir is None and self.clip is None:
            return
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
    delivery = Delivery(options, "interrogate")
    if options.embedded == ONLY:
        return delivery.read_embedded()
    import_tensorflow()
    from tf_prompt.inference import image_files, loading

    interrogator, captioner = loading.load_interrogation(options)
    tables = list(interrogator.tables)
    count = load_counter(options, interrogator.tokens)
    return delivery.deliver(
        lambda paths: image_files.interrogate_files(
            interrogator, paths, options.batch_size, captioner, options.shows_embedded
        ),
        Wording(options, ["similarity"], tables, count),
        {name: getattr(options, name) for name in _IDENTITY},
        columns=["similarity"],
        tables=tables,
    )


if __name__ == "__main__":
    sys.exit(main())
