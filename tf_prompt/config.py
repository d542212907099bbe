"""Options as dataclasses: a flag's name, type, default and help exist once."""

import argparse
import ast
import dataclasses
import functools
import os
import pathlib
import sys
import types
import typing
from collections.abc import Callable, Sequence

from tf_prompt.option_ranges import (
    require_not_negative,
    require_positive,
    require_rate,
)

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2


def option(default, help_text: str, **argument):
    """Declares a dataclass field that is also a flag.

    Args:
        default: the value without the flag; `dataclasses.MISSING` requires it.
        help_text: what the flag is for, with its unit.
        **argument: more for `ArgumentParser.add_argument`, such as `choices`;
            `positional=True` makes it an argument without dashes.
    """
    return dataclasses.field(default=default, metadata={"help": help_text, **argument})


def parse_args(config_class, argv: Sequence[str] | None, prog: str):
    """Fills a dataclass of options from the command line.

    Args:
        config_class: dataclass whose fields come from `option`. A `tuple` field
            takes several values; the class's docstring describes the command.
        argv: arguments; None reads those of the process.
        prog: the command's name in help and errors.

    Returns:
        An instance. A bad flag, or a `ValueError` of the class, ends the process
        with exit code 2 and one line.
    """
    parser = _OneLineParser(
        prog=prog,
        description=(config_class.__doc__ or "").strip().split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    for field in dataclasses.fields(config_class):
        _add_argument(parser, field, typing.get_type_hints(config_class)[field.name])
    values = vars(parser.parse_args(argv))
    tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    try:
        return config_class(**{**values, **tuples})
    except ValueError as error:
        parser.error(str(error))


def flags_of(config_class, values: dict) -> list[str]:
    """Writes values as the flags that would have given them; None gives no flag.

    Args:
        config_class: dataclass of the flags.
        values: by field name, as in `config.json`; what is no field is left out.
    """
    flags = []
    for field in dataclasses.fields(config_class):
        value, flag = values.get(field.name), f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        elif field.metadata.get("action") == "append":
            flags.extend(f"{flag}={item}" for item in value or ())
        elif isinstance(value, list):
            flags.extend([flag, *map(str, value)] if value else ())
        elif value is not None:
            flags.append(f"{flag}={value}")
    return flags


def take_options(config_class, config):
    """Takes the options of `config_class` out of a verb's larger set of them."""
    names = [field.name for field in dataclasses.fields(config_class)]
    return config_class(**{name: getattr(config, name) for name in names})


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(WRONG_USE, f"{self.prog}: error: {message}\n")


def _add_argument(parser, field, hint) -> None:
    argument = dict(field.metadata)
    positional = argument.pop("positional", False)
    name = field.name if positional else f"--{field.name.replace('_', '-')}"
    argument["default"] = field.default
    if field.default is dataclasses.MISSING:
        argument.pop("default")
        if not positional:
            argument["required"] = True
    if _without_none(hint) is bool:
        argument["action"] = argparse.BooleanOptionalAction
    elif typing.get_origin(hint) is tuple:
        argument["type"] = typing.get_args(hint)[0]
        argument.setdefault("nargs", "+" if positional else "*")
    else:
        argument["type"] = _without_none(hint)
    if argument.get("action") == "append":
        argument.pop("nargs")
        argument["default"] = list(field.default)
    parser.add_argument(name, **argument)


def _without_none(hint):
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(t for t in typing.get_args(hint) if t is not type(None))
    return hint


def import_tensorflow() -> None:
    """Imports TensorFlow without its remarks about GPUs that are not there.

    TensorFlow 2.21 writes them to file descriptor 2 while it is imported, whatever
    `TF_CPP_MIN_LOG_LEVEL` says. An import that fails still raises.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def errors_of_users() -> tuple[type[Exception], ...]:
    """The exceptions that what a user gives can cause: `command` makes them a line.

    Among them those of TensorFlow, if it is loaded: a damaged shard is noticed deep
    inside a dataset.
    """
    tensorflow = sys.modules.get("tensorflow")
    found = getattr(getattr(tensorflow, "errors", None), "OpError", None)
    return (ValueError, OSError, *([found] if found else []))


def command(main: Callable) -> Callable:
    """Makes `main(argv=None) -> int` a verb: what its user did wrong is one line.

    An error of `errors_of_users` becomes `name: error: …` on stderr and exit code 2.
    `TF_PROMPT_DEBUG=1` shows the traceback instead.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        # Before TensorFlow is imported; otherwise it speaks of absent GPUs.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        # TensorFlow turns oneDNN on by itself only where a CPU has AVX-512. With
        # AVX2 it makes a training step of transformer_tiny 1.6 times as fast.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        try:
            return main(argv)
        except errors_of_users() as error:
            if os.environ.get("TF_PROMPT_DEBUG"):
                raise
            name = main.__module__.rpartition(".")[2]
            if name == "__main__":
                path = pathlib.Path(sys.argv[0])
                # A package run with -m, such as the demo, is named by its folder.
                name = path.parent.name if path.stem == "__main__" else path.stem
            print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
            return WRONG_USE
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return run


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """Trains a model, then tests it; run again, the same command resumes.

    A field that is None takes its value from `training.recipes`.
    """

    preset: str = option("transformer_tiny", "model preset")
    data: str = option("toy", "`toy`, or a folder of shards from write_records")
    run_dir: str | None = option(None, "folder of the run; runs/PRESET if not given")
    epochs: int | None = option(
        None, "passes over the training split; the preset's own if not given"
    )
    batch_size: int | None = option(
        None, "examples a step, summed over replicas; the preset's own if not given"
    )
    learning_rate: float | None = option(
        None, "peak rate, reached after warm-up; the preset's own if not given"
    )
    warmup_steps: int = option(100, "steps of linear warm-up before cosine decay")
    weight_decay: float = option(0.01, "decoupled weight decay of AdamW")
    clip_norm: float = option(1.0, "largest norm of a batch's gradients together")
    vocab_size: int = option(46664, "entries at most, special tokens included")
    max_words: int = option(30, "words of a prompt that are learned, the rest is cut")
    rotation_degrees: float = option(0.0, "augmentation: largest turn, degrees")
    flip: bool | None = option(
        None,
        "augmentation: mirror half of the images; the preset's own if not given: "
        "on for captioners, off for embeddings",
    )
    erasing_rate: float = option(0.0, "augmentation: share that loses a rectangle")
    backbone: str | None = option(
        None,
        "regressors: another image backbone, a KerasHub preset or its folder; of a "
        "CLIP preset its vision tower; interrogators: another CLIP",
    )
    backbone_weights: str | None = option(
        None,
        "weights of a pretrained backbone: a KerasHub preset or its folder, a "
        ".weights.h5 file, or `random`; the encoder's own preset if not given",
    )
    image_size: int | None = option(
        None, "regressors: pixels a side; positions of a ViT are interpolated"
    )
    loss: str | None = option(
        None,
        "regressors: what is minimised; the preset's own if not given",
        choices=["mse", "cosine", "cosine_mse"],
    )
    head_epochs: int = option(0, "regressors: epochs that train the head alone")
    layer_decay: float = option(
        1.0, "regressors: rate of a block of the backbone over that of the next"
    )
    ema: float = option(0.0, "regressors: momentum of averaged weights; 0 for none")
    one_image_per_prompt: bool = option(
        False, "regressors: an epoch has one image of each prompt, drawn anew"
    )
    members: tuple[str, ...] = option(
        (),
        "ensembles: folders of runs to join; knn:RUN joins the training images "
        "nearest in the features of a run",
    )
    cache_features: bool = option(
        False,
        "captioners: keep what a frozen backbone sees beside the shards, 200 kB an "
        "image and view at 224 pixels; an epoch then costs no convolution",
    )
    views: int | None = option(
        None,
        "cache_features: augmented views of an image, of which an epoch draws one; 4 "
        "if not given",
    )
    strategy: str = option(
        "auto",
        "devices: all GPUs of this machine, one of them, or the machines of TF_CONFIG; "
        "auto takes these where it names several, else all GPUs, else the CPU",
        choices=["auto", "mirrored", "multi_worker", "one_device"],
    )
    shard_by: str = option(
        "auto",
        "multi_worker: how records are shared; by element is like one process, by file "
        "reads less; auto reads files above 4 GB, if there are enough",
        choices=["auto", "element", "file"],
    )
    worker_timeout: float = option(
        600.0, "multi_worker: seconds that one waits for another before it stops"
    )
    accumulate_steps: int = option(
        1, "rounds of batch_size / accumulate_steps examples that make one step"
    )
    mixed_precision: bool = option(False, "compute in float16, keep float32 weights")
    patience: int = option(0, "stop after so many epochs without gain; 0 never stops")
    save_every: float = option(
        30.0, "minutes between checkpoints within an epoch; 0 for none"
    )
    time_budget: float | None = option(
        None, "minutes after which training saves and stops; the same command resumes"
    )
    deterministic: bool = option(
        False, "the same numbers from run to run also where that is slower"
    )
    shuffle_buffer: int = option(8192, "records that shuffling draws from")
    seed: int = option(0, "of weights, data order, dropout and augmentation")
    set: tuple[str, ...] = option(
        (), "NAME=VALUE, a constructor argument of the model", action="append"
    )

    def __post_init__(self):
        require_positive(
            self,
            "batch_size",
            "learning_rate",
            "clip_norm",
            "max_words",
            "image_size",
            "layer_decay",
            "shuffle_buffer",
            "views",
            "time_budget",
            "accumulate_steps",
            "worker_timeout",
        )
        require_not_negative(
            self,
            "epochs",
            "warmup_steps",
            "weight_decay",
            "patience",
            "rotation_degrees",
            "head_epochs",
            "save_every",
        )
        require_rate(self, "erasing_rate", "ema")
        if self.layer_decay > 1:
            raise ValueError(
                f"layer_decay must be at most 1. Received: {self.layer_decay}"
            )
        if self.views is not None and not self.cache_features:
            raise ValueError(
                f"views goes with cache_features. Received: views={self.views}"
            )
        settings(self.set)


def settings(pairs: Sequence[str]) -> dict:
    """Reads `NAME=VALUE` pairs; a value is a Python literal, or else text.

    Raises:
        ValueError: if a pair has no `=`.
    """
    result = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"set must be NAME=VALUE. Received: {pair}")
        try:
            result[name] = ast.literal_eval(value)
        # The others are of brackets within brackets, and of lists as keys.
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            result[name] = value
    return result
