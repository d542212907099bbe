"""Both sides of a step, in any Keras backend and in PyTorch; set the backend first."""

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import keras
import numpy as np
import torch
from keras import ops

from benchmarks import accelerator, twins
from tf_prompt.models import presets

MAX_TOKENS, REGIONS = 31, (49, 2048)
RECIPE = SimpleNamespace(learning_rate=3e-4, weight_decay=0.01, clip_norm=1.0)
# Largest difference of logits, in their standard deviations. On a GPU products of
# float32 are rounded to TensorFloat-32.
TOLERANCES = {"float32": 0.01, "bfloat16": 0.15}
# Steps whose logits are compared.
COMPARED = 4


class Setting(NamedTuple):
    """What is run, and how.

    Attributes:
        preset: name of the model.
        batch: images in training, prompts in decoding.
        tokens: length of the prompts in training.
        steps: number of steps of a run.
        device: PyTorch's name of the device.
        dtype: `float32` or `bfloat16`; ours computes in mixed precision then.
        compiled: whether PyTorch's side is compiled.
    """

    preset: str
    batch: int
    tokens: int
    steps: int
    device: str
    dtype: str
    compiled: bool

    @property
    def tolerance(self) -> float:
        """See `twins.close`."""
        return TOLERANCES[self.dtype]


class Sides(NamedTuple):
    """Functions that each run the steps once; FLOP of a step; equality of outputs."""

    ours: Callable
    rival: Callable
    flop: int
    parity: bool


class SameBatch(keras.utils.PyDataset):
    """One batch, several times."""

    def __init__(self, batch, count: int):
        super().__init__()
        self.batch, self.count = batch, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.batch


def build_training(setting: Setting) -> Sides:
    """Builds `fit` of our model and the loop of its twin on the same batch."""
    model, twin = build_models(setting)
    images, token_ids, targets = draw_batch(model, setting)
    mixed = contextlib.nullcontext()
    if setting.dtype != "float32":
        mixed = torch.autocast(setting.device, getattr(torch, setting.dtype))
    twin.to(setting.device)
    if setting.device != "cpu":
        twin.backbone.to(memory_format=torch.channels_last)
    parity = twins.same_loss(
        model, twin, token_ids, targets, setting.tolerance, autocast=mixed
    )
    optimizer = keras.optimizers.AdamW(
        RECIPE.learning_rate, RECIPE.weight_decay, global_clipnorm=RECIPE.clip_norm
    )
    # The captioner computes the loss of each word itself.
    model.compile(optimizer, lambda _, found: found[..., 0])
    inputs = {"images": images, "token_ids": token_ids, "target_ids": targets}
    batches = SameBatch((inputs, targets), setting.steps)
    rival = twins.torch_steps(
        torch.compile(twin) if setting.compiled else twin,
        *(images, token_ids, targets, setting.steps, RECIPE, mixed),
    )
    return Sides(
        lambda: model.fit(batches, verbose=0, shuffle=False),
        rival,
        twins.count_training(
            setting.preset, setting.batch, setting.tokens, model.vocab_size
        ),
        parity,
    )


def build_decoding(setting: Setting) -> Sides:
    """Builds steps of our model and of its twin from the same regions."""
    model, twin = build_models(setting)
    twin.to(setting.device, getattr(torch, setting.dtype)).eval()
    images, token_ids, _ = draw_batch(model, setting)
    images, token_ids = ops.convert_to_tensor(images), token_ids[:, 0]
    regions = compiled(model.extract_regions, model.variables)(images)
    regions = torch.from_numpy(twins.to_numpy(regions)).to(next(twin.parameters()))
    unused = {id(variable) for variable in model.image_encoder.variables}
    ours = repeat(
        compiled(model.step, [v for v in model.variables if id(v) not in unused]),
        *compiled(model.encode, model.variables)(images),
        ops.convert_to_tensor(token_ids),
        [ops.convert_to_tensor(np.int32(place)) for place in range(MAX_TOKENS)],
    )
    with torch.no_grad():
        begun = twin.start(regions, MAX_TOKENS)
    rival = repeat(
        torch.no_grad()(torch.compile(twin.step) if setting.compiled else twin.step),
        *begun,
        torch.from_numpy(token_ids).to(setting.device),
        list(torch.arange(MAX_TOKENS, device=setting.device)),
    )
    logits = [torch.from_numpy(run(COMPARED)) for run in (ours, rival)]
    return Sides(
        lambda: ours(setting.steps),
        lambda: rival(setting.steps),
        count_decoding(setting, model.vocab_size),
        twins.close(*logits, setting.tolerance),
    )


def build_models(setting: Setting):
    """Builds our model with random weights, and its twin with those of the decoder."""
    is_mixed = setting.dtype != "float32"
    keras.config.set_dtype_policy("mixed_" * is_mixed + setting.dtype)
    keras.utils.set_random_seed(0)
    model = presets.build(setting.preset, max_tokens=MAX_TOKENS)
    twin = twins.TWINS[setting.preset](model.vocab_size)
    twins.copy_weights(model, twin)
    return model, twin


def draw_batch(model, setting: Setting):
    """Draws images, previous tokens and next tokens."""
    rng, side = np.random.default_rng(0), model.image_size
    images = rng.integers(0, 256, (setting.batch, side, side, 3), "uint8")
    shape = (2, setting.batch, setting.tokens)
    return images, *rng.integers(4, model.vocab_size, shape, "int32")


def compiled(function, variables):
    """Compiles a function of a model without gradients, as its backend does it.

    Args:
        function: from tensors to tensors.
        variables: the model's variables that it reads.
    """
    if keras.config.backend() == "torch":
        return torch.no_grad()(function)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    import jax

    # As arguments: XLA would copy and fold constants.
    values = [variable.value for variable in variables]

    @jax.jit
    def run(values, *arguments):
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return function(*arguments)

    return lambda *arguments: run(values, *arguments)


def repeat(step, state, memory, token_ids, places):
    """Builds a function that takes so many steps and returns the last logits."""

    def run(count: int) -> np.ndarray:
        found = state
        for index in range(count):
            logits, found = step(token_ids, places[index % len(places)], found, memory)
        return twins.to_numpy(logits)

    return run


def count_decoding(setting: Setting, vocab_size: int) -> int:
    """FLOP of a decoding step of the twin."""
    with torch.device("meta"), torch.no_grad():
        twin = twins.TWINS[setting.preset](vocab_size).eval()
        begun = twin.start(torch.zeros(setting.batch, *REGIONS), MAX_TOKENS)
        words, place = torch.zeros(setting.batch, dtype=torch.long), torch.tensor(0)
        return accelerator.count_flop(lambda: twin.step(words, place, *begun))
