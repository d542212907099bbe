"""Everything one training run depends on; saved as `config.json`."""

import ast
import dataclasses
import types
import typing
from collections.abc import Sequence

from tf_prompt.options import (
    option,
    require_not_negative,
    require_positive,
    require_rate,
)


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """Trains a model, then tests it; run again, the same command resumes.

    A field that is None takes its value from `training.recipes`.
    """

    preset: str = option(
        "transformer_tiny",
        "model preset",
        group="run",
    )
    data: str = option(
        "toy",
        "`toy`, or a folder of shards from write_records",
        group="run",
    )
    run_dir: str | None = option(
        None,
        "folder of the run; runs/PRESET if not given",
        group="run",
    )
    epochs: int | None = option(
        None,
        "passes over the training split; the preset's own if not given",
        group="learning",
    )
    batch_size: int | None = option(
        None,
        "examples a step, summed over replicas; the preset's own if not given",
        group="learning",
    )
    learning_rate: float | None = option(
        None,
        "peak rate, reached after warm-up; the preset's own if not given",
        group="learning",
    )
    warmup_steps: int = option(
        100,
        "steps of linear warm-up before cosine decay",
        group="learning",
    )
    weight_decay: float = option(
        0.01,
        "decoupled weight decay of AdamW",
        group="learning",
    )
    clip_norm: float = option(
        1.0,
        "largest norm of a batch's gradients together",
        group="learning",
    )
    vocab_size: int = option(
        46664,
        "entries at most, special tokens included",
        group="captioners",
    )
    max_words: int = option(
        30,
        "words of a prompt that are learned, the rest is cut",
        group="captioners",
    )
    modifier_prompts: int = option(
        10,
        "taggers: training prompts that a modifier must be in to be learned",
    )
    rotation_degrees: float = option(0.0, "augmentation: largest turn, degrees")
    flip: bool | None = option(
        None,
        "augmentation: mirror half of the images; the preset's own if not given: "
        "on for captioners, off for embeddings",
    )
    erasing_rate: float = option(0.0, "augmentation: share that loses a rectangle")
    backbone: str | None = option(
        None,
        "another image backbone: efficientnet_lite0, a KerasHub preset, "
        "hf://USER/MODEL, or a preset's or transformers folder; of a CLIP its vision "
        "tower. Of interrogators another CLIP",
        group="model",
    )
    backbone_weights: str | None = option(
        None,
        "weights of a pretrained backbone: as --backbone, a .weights.h5 file, or "
        "`random`; the backbone's own if not given",
        group="model",
    )
    image_size: int | None = option(
        None,
        "pixels a side, for which positions of a ViT are interpolated; the preset's "
        "own if not given",
        group="model",
    )
    train_backbone: bool = option(
        False,
        "captioners: a pretrained backbone learns too, in place of standing still",
        group="model",
    )
    loss: str | None = option(
        None,
        "regressors: what is minimised; the preset's own if not given",
        choices=["mse", "cosine", "cosine_mse"],
    )
    head_epochs: int = option(
        0,
        "epochs in which a backbone that learns still stands still",
        group="model",
    )
    layer_decay: float = option(
        1.0,
        "learning rate of a block of the backbone over that of the next",
        group="model",
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
        "captioners, taggers: keep what a frozen backbone sees beside the shards, "
        "200 kB an image and view at 224 pixels; an epoch then costs no convolution",
    )
    views: int | None = option(
        None,
        "cache_features: augmented views of an image, of which an epoch draws one; 4 "
        "if not given",
        group="captioners",
    )
    strategy: str = option(
        "auto",
        "devices: all GPUs of this machine, one of them, or the machines of TF_CONFIG; "
        "auto takes these where it names several, else all GPUs, else the CPU",
        choices=["auto", "mirrored", "multi_worker", "one_device"],
    )
    shard_by: str = option(
        "auto",
        "several machines: how records are shared; by element is like one process, by "
        "file reads less; auto reads files above 4 GB, if there are enough",
        choices=["auto", "element", "file"],
        group="devices",
    )
    worker_timeout: float = option(
        600.0,
        "several machines: seconds that one waits for another before it stops",
        group="devices",
    )
    accumulate_steps: int = option(
        1,
        "rounds of batch_size / accumulate_steps examples that make one step",
        group="learning",
    )
    mixed_precision: bool = option(
        False,
        "compute in float16, keep float32 weights",
        group="learning",
    )
    patience: int = option(
        0,
        "stop after so many epochs without gain; 0 never stops",
        group="stopping and saving",
    )
    save_every: float = option(
        30.0,
        "minutes between checkpoints within an epoch; 0 for none",
        group="stopping and saving",
    )
    time_budget: float | None = option(
        None,
        "minutes after which training saves and stops; the same command resumes",
        group="stopping and saving",
    )
    deterministic: bool = option(
        False,
        "the same numbers from run to run also where that is slower",
        group="learning",
    )
    shuffle_buffer: int = option(
        8192,
        "records that shuffling draws from",
        group="learning",
    )
    seed: int = option(
        0,
        "of weights, data order, dropout and augmentation",
        group="run",
    )
    set: tuple[str, ...] = option(
        (),
        "NAME=VALUE, a constructor argument of the model",
        action="append",
        group="run",
    )

    def __post_init__(self):
        require_positive(
            self,
            "batch_size",
            "learning_rate",
            "clip_norm",
            "max_words",
            "modifier_prompts",
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


def from_json(config_class, content, path):
    """Fills a dataclass of options from the content of a JSON file.

    Args:
        config_class: dataclass whose fields come from `option`.
        content: a dict; keys that are no field are passed over.
        path: the file, for messages.

    Raises:
        ValueError: if it is no dict, lacks a field without a default, or a value is
            not of its field's type or range.
    """
    if not isinstance(content, dict):
        raise ValueError(f"options must be a JSON object. Received: {path}")
    hints, values = typing.get_type_hints(config_class), {}
    for field in dataclasses.fields(config_class):
        # JSON knows no tuples.
        value = content.get(field.name, field.default)
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hints[field.name]):
            raise ValueError(
                f"{field.name} must be of type {hints[field.name]}. "
                f"Received: {str(value)[:80]!r} in {path}"
            )
        values[field.name] = value
    return config_class(**values)


def _fits(value, hint) -> bool:
    """Whether a value of a JSON file has a field's type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, kind) for kind in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_fits(item, kind) for item in value)
    if hint is float:
        # NaN and the infinities, which JSON has in Python, are outside too.
        return type(value) in (int, float) and -1e300 < value < 1e300
    # Not isinstance, to which True is an int.
    return type(value) is hint
