"""Writes the prompts of image files."""

import dataclasses
import sys
import typing

from tf_prompt.decoding import config as decoding_config
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference.delivery import ONLY, Delivery, DeliveryConfig
from tf_prompt.inference.wording import Wording, load_counter
from tf_prompt.options import (
    DONE,
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
    take_options,
)
from tf_prompt.runs import workers
from tf_prompt.runs.machine.devices import gpu_memory_option
from tf_prompt.serving import opening
from tf_prompt.serving.client.options import ServerConfig

EXAMPLES = (
    "python -m tf_prompt.predict --run-dir runs/transformer_tiny image.png",
    "python -m tf_prompt.predict --saved-model saved_models/m/1 FOLDER --csv out.csv",
)
BATCH_SIZE = 32
# The largest batch that saved_models/batching.config allows.
SERVER_BATCH_SIZE = 16
# What prompts depend on, besides decoding and wording.
_IDENTITY = ("run_dir", "saved_model", "litert", "bank")
_IDENTITY += ("server", "model", "model_version", "model_label")


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(PredictConfig, argv, "predict", EXAMPLES)
    if options.dry_run:
        print(_rehearse(options))
        return DONE
    delivery = _open_delivery(options)
    if delivery.is_done:
        return DONE
    if options.embedded == ONLY:
        return delivery.read_embedded()
    if options.litert is None:
        # Seconds, which a LiteRT file saves.
        import_tensorflow()
        from tf_prompt.inference.devices import bound_gpu_memory

        bound_gpu_memory(options.gpu_memory)
    from tf_prompt.inference import image_files

    decoding = take_options(decoding_config.DecodingConfig, options)
    wording = Wording(options, ["score"], count=load_counter(options))
    writer, strips = _load(options, decoding)
    if strips is not None:
        strips.plan(delivery.places)
    identity = {name: getattr(options, name) for name in _IDENTITY}
    if options.shows_embedded:
        identity["embedded"] = options.embedded
    return delivery.deliver(
        lambda paths: image_files.predict(
            writer, paths, options.images_at_once, options.shows_embedded
        ),
        wording,
        {**dataclasses.asdict(decoding), **identity},
        columns=["score"],
        note=strips and (lambda row: strips.write(row["path"], row["prompt"])),
    )


def _rehearse(options: "PredictConfig") -> str:
    """The table of --dry-run."""
    import_tensorflow()
    from tf_prompt.inference import needs

    decoding = take_options(decoding_config.DecodingConfig, options)
    if options.saved_model is not None:
        opening.require_greedy(
            decoding, "a SavedModel", f"saved_model={options.saved_model}"
        )
        return needs.describe_saved_model(options.saved_model)
    return needs.describe_run(options.run_dir, options.images_at_once, decoding)


def _open_delivery(options: "PredictConfig") -> Delivery:
    delivery = Delivery(options, "predict")
    share = workers.parse_share(options.share)
    if share:
        # Checked for all images: those of other shares must not collide either.
        delivery.paths = delivery.paths[share.index :: share.count]
    return delivery


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(DecodingConfig, ServerConfig, DeliveryConfig):
    """Writes the prompts of image files and of the images in folders."""

    first_groups: typing.ClassVar = ("input", "model", "output", "server")

    run_dir: str | None = option(
        None,
        "folder of a run of tf_prompt.fit",
        metavar="DIR",
        group="model",
    )
    saved_model: str | None = option(
        None,
        "folder of one version of an export, such as saved_models/NAME/1",
        metavar="DIR",
        group="model",
    )
    litert: str | None = option(
        None,
        "file of export --to litert; needs no TensorFlow",
        group="model",
    )
    batch_size: int | None = option(
        None,
        f"images per batch (default: {BATCH_SIZE}, or {SERVER_BATCH_SIZE} with "
        "--server)",
        group="speed",
    )
    dry_run: bool = option(
        False,
        "print the parameters, the download and the GPU memory that writing prompts "
        "takes, and write none; needs no PATH",
        group="instead of prompts",
    )
    gpu_memory: int | None = gpu_memory_option()
    share: str | None = option(
        None,
        "divide the images among COUNT processes: 0/4 takes every fourth image, "
        "starting with the first; each share needs its own --csv (default: the share "
        "of TF_CONFIG)",
        metavar="INDEX/COUNT",
        group="devices",
    )
    bank: str | None = option(
        None,
        "embedding models: text file of prompts, one per line, from which the nearest "
        "is chosen (default: the training prompts)",
        metavar="FILE",
        group="model",
    )
    attention: str | None = option(
        None,
        "folder for PNGs, one per image, that show the attention for each word",
        metavar="DIR",
        group="output",
    )

    @property
    def images_at_once(self) -> int:
        """`batch_size`, or its default."""
        return self.batch_size or (SERVER_BATCH_SIZE if self.server else BATCH_SIZE)

    def __post_init__(self):
        DecodingConfig.__post_init__(self)
        ServerConfig.__post_init__(self)
        DeliveryConfig.__post_init__(self)
        require_positive(self, "batch_size", "gpu_memory")
        workers.parse_share(self.share)
        opening.require_one_place(self, may_lack=self.embedded == ONLY)
        if not self.paths and not self.dry_run:
            raise ValueError("PATH must be given. Received: none")
        if self.dry_run and not (self.run_dir or self.saved_model):
            raise ValueError(
                "dry_run needs --run-dir or --saved-model. Received: neither"
            )


def _load(options: PredictConfig, decoding: DecodingConfig):
    """The model, and for --attention what draws its strips."""
    model = opening.open_writer(options, decoding)
    if options.attention is None:
        return model, None
    from tf_prompt.inference.attention import AttentionStrips

    return model, AttentionStrips(model, options.attention)


if __name__ == "__main__":
    sys.exit(main())
