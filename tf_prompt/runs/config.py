"""The options of a training run, saved as `config.json`."""

import ast
import dataclasses
from collections.abc import Sequence

from tf_prompt.options import (
    option,
    require_not_negative,
    require_positive,
    require_rate,
)
from tf_prompt.runs.machine.devices import gpu_memory_option


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """The options of a training run; the fields are the flags of `tf_prompt.fit`.

    Fields that are None take the preset's own value. `python -m tf_prompt.fit --help`
    describes each field.

    Raises:
        ValueError: for a value outside its range; the message names the field.

    Example:

    >>> config = tf_prompt.FitConfig(preset="lstm_tiny", data="shards", epochs=3)
    >>> config.seed, config.batch_size
    (0, None)
    >>> tf_prompt.FitConfig(epochs=-1)
    Traceback (most recent call last):
    ValueError: epochs must not be negative. Received: -1
    """

    preset: str = option(
        "transformer_tiny",
        "model preset; an unknown name lists them all",
        group="run",
    )
    data: str = option(
        "toy",
        "`toy`, or a folder of shards from pipelines.write_records",
        group="data",
    )
    run_dir: str | None = option(
        None,
        "folder of the run (default: runs/PRESET)",
        metavar="DIR",
        group="run",
    )
    epochs: int | None = option(
        None,
        "passes over the training split (default: the preset's)",
        group="learning",
    )
    batch_size: int | None = option(
        None,
        "examples per step, summed over all GPUs (default: the preset's)",
        group="learning",
    )
    learning_rate: float | None = option(
        None,
        "peak learning rate, reached after warm-up (default: the preset's)",
        group="learning",
    )
    warmup_steps: int = option(
        100,
        "steps of linear warm-up before cosine decay",
        group="learning",
    )
    weight_decay: float = option(
        0.01,
        "decoupled weight decay, as in AdamW",
        group="learning",
    )
    clip_norm: float = option(
        1.0,
        "clip gradients to this global norm",
        group="learning",
    )
    vocab_size: int = option(
        46664,
        "maximum size of the vocabulary, special tokens included",
        group="captioners",
    )
    tokens: str | None = option(
        None,
        "words: normalised, without commas or digits; subwords: byte pairs of the "
        "original prompts (default: words; language models: subwords)",
        choices=["words", "subwords"],
        group="captioners",
    )
    max_words: int = option(
        30,
        "maximum number of words per prompt; longer prompts are truncated",
        group="captioners",
    )
    max_subwords: int = option(
        75,
        "with --tokens subwords: maximum number per prompt; CLIP reads 75",
        group="captioners",
    )
    fold_case: bool = option(
        False,
        "with --tokens subwords: convert prompts to lower case",
        group="captioners",
    )
    modifier_prompts: int = option(
        10, "taggers: learn the modifiers that occur in at least N training prompts"
    )
    rotation_degrees: float = option(0.0, "augmentation: maximum rotation in degrees")
    flip: bool | None = option(
        None,
        "augmentation: mirror half of the images (default: on for captioners, off for "
        "embeddings)",
    )
    erasing_rate: float = option(
        0.0, "augmentation: fraction of images with a random rectangle erased"
    )
    backbone: str | None = option(
        None,
        "use another image backbone: efficientnet_lite0, a KerasHub preset, "
        "hf://USER/MODEL, or the folder of a preset or a transformers model. Of a CLIP "
        "the vision tower is used; interrogators need a whole CLIP",
        group="model",
    )
    backbone_weights: str | None = option(
        None,
        "weights of the backbone: a name or folder as in --backbone, a .weights.h5 "
        "file, or `random` (default: the backbone's pretrained weights)",
        metavar="WEIGHTS",
        group="model",
    )
    image_size: int | None = option(
        None,
        "side of the input images in pixels; the position embeddings of ViTs are "
        "interpolated (default: the preset's)",
        group="model",
    )
    train_backbone: bool = option(
        False,
        "captioners: train the pretrained backbone too, instead of freezing it",
        group="model",
    )
    lora_rank: int | None = option(
        None,
        "rank of LoRA matrices beside the frozen base; 0 trains the weights instead",
        group="language models",
    )
    train_vision: bool | None = option(
        None, "train the vision encoder too", group="language models"
    )
    zero_shot: bool = option(
        False,
        "make a run of the pretrained base without training",
        group="language models",
    )
    loss: str | None = option(
        None,
        "regressors: loss function (default: the preset's)",
        choices=["mse", "cosine", "cosine_mse"],
    )
    head_epochs: int = option(
        0,
        "keep the backbone frozen in the first N epochs",
        group="model",
    )
    layer_decay: float = option(
        1.0,
        "learning rate of each backbone block, relative to the block above it",
        group="model",
    )
    ema: float = option(
        0.0,
        "captioners and regressors: momentum of the moving average of weights, such as "
        "0.999; 0 for none",
        group="learning",
    )
    dropout_rate: float | None = option(
        None,
        "captioners: share of activations dropped in training; the preset's own if not "
        "given",
        group="captioners",
    )
    label_smoothing: float | None = option(
        None,
        "captioners: share of each target that is spread over the vocabulary in "
        "training; the preset's own if not given",
        group="captioners",
    )
    tie_weights: bool | None = option(
        None,
        "captioners: score words by their embeddings, without an output layer of its "
        "own; the preset's own if not given",
        group="captioners",
    )
    scheduled_sampling: float = option(
        0.0,
        "captioners: share of the words read in training that the model writes itself; "
        "it rises from 0 in the first epoch to this in the last",
        group="captioners",
    )
    one_image_per_prompt: bool = option(
        False, "regressors: each epoch draws one image per prompt"
    )
    members: tuple[str, ...] = option(
        (),
        "ensembles: folders of the runs to combine; knn:DIR averages the prompts of "
        "the nearest training images by the features of a run; taggers: the run that "
        "writes the subject before their modifiers",
        metavar="DIR",
    )
    cache_features: bool = option(
        False,
        "captioners: compute the features of a frozen backbone once and store them "
        "beside the shards, 200 kB per image and view at 224 pixels; for taggers too",
    )
    views: int | None = option(
        None,
        "with --cache-features: number of augmented views per image, of which each "
        "epoch draws one (default: 4)",
        group="captioners",
    )
    strategy: str = option(
        "auto",
        "devices: mirrored: all GPUs of this machine; one_device: one of them; "
        "multi_worker: the machines of TF_CONFIG; auto: multi_worker if TF_CONFIG "
        "names several machines, else mirrored, else the CPU",
        choices=["auto", "mirrored", "multi_worker", "one_device"],
    )
    shard_by: str = option(
        "auto",
        "several machines: how to divide the data. element: by record, in the order of "
        "a single process; file: by file, which reads less; auto: by file above 4 GB, "
        "if there are enough files",
        choices=["auto", "element", "file"],
        group="devices",
    )
    worker_timeout: float = option(
        600.0,
        "several machines: seconds to wait for the others",
        group="devices",
    )
    gpu_memory: int | None = gpu_memory_option()
    accumulate_steps: int = option(
        1,
        "gradient accumulation: compute each batch in N parts, to save memory",
        group="learning",
    )
    mixed_precision: bool = option(
        False,
        "compute in float16 with float32 weights; language models in bfloat16",
        group="learning",
    )
    patience: int = option(
        0,
        "stop after N epochs without improvement; 0 never stops early",
        group="saving",
    )
    save_every: float = option(
        30.0,
        "minutes between checkpoints within an epoch; 0 saves only after epochs",
        group="saving",
    )
    time_budget: float | None = option(
        None,
        "save and stop after this many minutes; the same command resumes",
        group="saving",
    )
    deterministic: bool = option(
        False,
        "make results reproducible bit for bit, even where that is slower",
        group="learning",
    )
    shuffle_buffer: int = option(
        8192,
        "size of the shuffle buffer in records",
        group="data",
    )
    seed: int = option(
        0,
        "random seed for weights, data order, dropout and augmentation",
        group="run",
    )
    set: tuple[str, ...] = option(
        (),
        "set a constructor argument of the model, such as num_heads=8; may be repeated",
        metavar="NAME=VALUE",
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
            "max_subwords",
            "modifier_prompts",
            "image_size",
            "layer_decay",
            "shuffle_buffer",
            "views",
            "time_budget",
            "accumulate_steps",
            "worker_timeout",
            "gpu_memory",
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
            "lora_rank",
        )
        require_rate(self, "erasing_rate", "ema", "dropout_rate", "label_smoothing")
        require_rate(self, "scheduled_sampling")
        if self.layer_decay > 1:
            raise ValueError(
                f"layer_decay must be at most 1. Received: {self.layer_decay}"
            )
        if self.views is not None and not self.cache_features:
            raise ValueError(
                f"views needs --cache-features. Received: views={self.views}"
            )
        foreign = {"words": ("max_subwords", "fold_case"), "subwords": ("max_words",)}
        for name in foreign.get(self.tokens, ()):
            if getattr(self, name) != getattr(FitConfig, name):
                raise ValueError(
                    f"{name} must be left out with tokens={self.tokens}. "
                    f"Received: {getattr(self, name)}"
                )
        if self.zero_shot and self.epochs:
            raise ValueError(
                f"epochs must be left out with zero_shot. Received: {self.epochs}"
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
        # The others come from nested brackets, and from lists as keys.
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            result[name] = value
    return result
