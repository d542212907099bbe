"""What `predict` is told: images, the model, and where prompts go."""

import dataclasses

from tf_prompt import option_ranges, workers
from tf_prompt.client.options import ServerConfig
from tf_prompt.config import option
from tf_prompt.decoding_config import DecodingConfig

BATCH_SIZE = 32
# The largest that saved_models/batching.config lets through.
SERVER_BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(DecodingConfig, ServerConfig):
    """Writes the prompts of image files and of the images in folders."""

    paths: tuple[str, ...] = option(
        dataclasses.MISSING,
        "image files and folders; - reads paths from standard input, one a line",
        positional=True,
        metavar="PATH",
    )
    run_dir: str | None = option(None, "folder of a run of tf_prompt.fit")
    saved_model: str | None = option(None, "folder of one version of an export")
    recursive: bool = option(False, "search folders inside folders too")
    batch_size: int | None = option(
        None,
        f"images written about at once; {BATCH_SIZE}, or of a server "
        f"{SERVER_BATCH_SIZE}, if not given",
    )
    json: bool = option(False, "print one JSON object an image")
    csv: str | None = option(
        None, "also write a CSV file of path, prompt, score, error; resumes"
    )
    jsonl: str | None = option(None, "also write a file of JSON lines; resumes")
    sidecar: bool = option(False, "also write each prompt into a .txt beside its image")
    skip_existing: bool = option(False, "pass over images that have a .txt beside them")
    write_metadata: str | None = option(
        None, "folder for copies of the images with the prompt in PNG text or EXIF"
    )
    share: str | None = option(
        None,
        "INDEX/COUNT: every COUNT-th image from the INDEX-th on, as 0/4; each share "
        "wants a --csv of its own; that of TF_CONFIG if not given",
    )
    bank: str | None = option(
        None,
        "models of embeddings: text file of prompts, one a line, of which the nearest "
        "is written; the training prompts if not given",
    )
    attention: str | None = option(
        None,
        "folder for a PNG an image that shows where the model looked for each word",
    )

    @property
    def images_at_once(self) -> int:
        """`batch_size`, or what stands for it."""
        return self.batch_size or (SERVER_BATCH_SIZE if self.server else BATCH_SIZE)

    def __post_init__(self):
        DecodingConfig.__post_init__(self)
        ServerConfig.__post_init__(self)
        option_ranges.require_positive(self, "batch_size")
        workers.parse_share(self.share)
        places = (self.run_dir, self.saved_model, self.server)
        if sum(place is not None for place in places) != 1:
            raise ValueError(
                "one of --run-dir, --saved-model and --server must be given. "
                f"Received: run_dir={self.run_dir}, saved_model={self.saved_model}, "
                f"server={self.server}"
            )
        for name in ("attention", "bank"):
            if getattr(self, name) is not None and self.run_dir is None:
                raise ValueError(
                    f"{name} needs --run-dir. Received: "
                    f"saved_model={self.saved_model}, server={self.server}"
                )
