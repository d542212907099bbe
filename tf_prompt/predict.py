"""Writes the prompts of image files."""

import contextlib
import dataclasses
import sys
import typing

from tf_prompt import api
from tf_prompt.decoding import config as decoding_config
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.options import (
    DONE,
    SOME_FAILED,
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
    take_options,
)
from tf_prompt.runs import workers
from tf_prompt.runs.machine.devices import gpu_memory_option
from tf_prompt.serving.client.options import ServerConfig

EXAMPLES = (
    "python -m tf_prompt.predict --run-dir runs/transformer_tiny picture.png",
    "python -m tf_prompt.predict --saved-model saved_models/m/1 FOLDER --csv out.csv",
)
BATCH_SIZE = 32
# The largest that saved_models/batching.config lets through.
SERVER_BATCH_SIZE = 16


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(PredictConfig, argv, "predict", EXAMPLES)
    import_tensorflow()
    from tf_prompt.data import listing
    from tf_prompt.inference import image_files, result_files
    from tf_prompt.inference.devices import bound_gpu_memory
    from tf_prompt.inference.places import Places

    bound_gpu_memory(options.gpu_memory)
    named = result_files.read_names(options.paths)
    found = listing.find_images(named, options.recursive)
    # Of all images, also those of other shares: nothing may collide.
    places = Places(found, named, options)
    paths = places.paths
    share = workers.parse_share(options.share)
    if share:
        paths = paths[share.index :: share.count]
    if options.skip_existing:
        paths = [p for p in paths if not result_files.sidecar_of(p).exists()]
    decoding = take_options(decoding_config.DecodingConfig, options)
    writer, strips = _load(options, decoding)
    if strips is not None:
        strips.plan(places)
    failures = []
    with contextlib.ExitStack() as stack:
        tables = result_files.open_tables(options, dataclasses.asdict(decoding), stack)
        left = result_files.without_done(paths, tables)
        for result in image_files.predict(writer, left, options.images_at_once):
            if "error" not in result:
                result = result_files.write_beside(result, options, strips, places)
            result_files.show(result, options.json)
            if "error" in result:
                failures.append(result)
            # Last: a row says that all of the image is done.
            for table in tables:
                table.add([result])
    result_files.report_failures(failures, len(left))
    return SOME_FAILED if failures else DONE


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(DecodingConfig, ServerConfig):
    """Writes the prompts of image files and of the images in folders."""

    first_groups: typing.ClassVar = ("input", "model", "output")

    paths: tuple[str, ...] = option(
        dataclasses.MISSING,
        "image files and folders; - reads paths from standard input, one a line",
        positional=True,
        metavar="PATH",
        group="input",
    )
    run_dir: str | None = option(
        None,
        "folder of a run of tf_prompt.fit",
        group="model",
    )
    saved_model: str | None = option(
        None,
        "folder of one version of an export",
        group="model",
    )
    recursive: bool = option(
        False,
        "search folders inside folders too",
        group="input",
    )
    batch_size: int | None = option(
        None,
        f"images written about at once; {BATCH_SIZE}, or of a server "
        f"{SERVER_BATCH_SIZE}, if not given",
        group="speed",
    )
    gpu_memory: int | None = gpu_memory_option()
    json: bool = option(
        False,
        "print one JSON object an image",
        group="output",
    )
    csv: str | None = option(
        None,
        "also write a CSV file of path, prompt, score, error; resumes",
        group="output",
    )
    jsonl: str | None = option(
        None,
        "also write a file of JSON lines; resumes",
        group="output",
    )
    sidecar: bool = option(
        False,
        "also write each prompt into a .txt beside its image",
        group="output",
    )
    skip_existing: bool = option(
        False,
        "pass over images that have a .txt beside them",
        group="input",
    )
    write_metadata: str | None = option(
        None,
        "folder for copies of the PNG, JPEG and WebP images with the prompt inside, in "
        "the subfolders that the images are in",
        group="output",
    )
    share: str | None = option(
        None,
        "INDEX/COUNT: every COUNT-th image from the INDEX-th on, as 0/4; each share "
        "wants a --csv of its own; that of TF_CONFIG if not given",
        group="input",
    )
    bank: str | None = option(
        None,
        "models of embeddings: text file of prompts, one a line, of which the nearest "
        "is written; the training prompts if not given",
        group="model",
    )
    attention: str | None = option(
        None,
        "folder for a PNG an image that shows where the model looked for each word",
        group="output",
    )

    @property
    def images_at_once(self) -> int:
        """`batch_size`, or what stands for it."""
        return self.batch_size or (SERVER_BATCH_SIZE if self.server else BATCH_SIZE)

    def __post_init__(self):
        DecodingConfig.__post_init__(self)
        ServerConfig.__post_init__(self)
        require_positive(self, "batch_size", "gpu_memory")
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


def _load(options: PredictConfig, decoding: DecodingConfig):
    """What writes prompts; of a run, also what draws its attention if it is asked."""
    if options.server is not None:
        return api.connect(options, decoding), None
    if options.saved_model is not None:
        return api.load_saved_model(options.saved_model, decoding), None
    model = api.load_run(options.run_dir, decoding, options.bank)
    if options.attention is None:
        return model, None
    from tf_prompt.inference.attention import AttentionStrips

    return model, AttentionStrips(model, options.attention)


if __name__ == "__main__":
    sys.exit(main())
