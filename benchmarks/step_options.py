"""What three options of Keras would do to a training step on this machine.

`steps_per_execution=8`, `jit_compile=True` and mixed precision, each against the
step as `fit` has it; batches of equal length, so that XLA compiles once.
"""

import sys

import numpy as np

from benchmarks import measure, threads

threads.pin()
import keras  # noqa: E402

from tf_prompt.models import presets  # noqa: E402
from tf_prompt.runs.config import FitConfig  # noqa: E402
from tf_prompt.training import recipes  # noqa: E402
from tf_prompt.training.tasks.captioning import CaptioningTask  # noqa: E402

PRESETS = ("transformer_tiny", "lstm_base", "transformer_base")
OPTIONS = {
    "steps_per_execution": {"steps_per_execution": 8},
    "jit_compile": {"jit_compile": True},
    "mixed_precision": {},
}
STEPS = 8
PACKAGES = ("tensorflow", "keras")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("step_options", __doc__, argv)
    named = PRESETS[:1] if quick else PRESETS
    repeats = 1 if quick else 3
    return measure.report(*(compare(p, o, repeats) for p in named for o in OPTIONS))


def compare(preset: str, option: str, repeats: int) -> dict:
    """Steps a second with an option and without, from the same weights."""
    plain = prepare(preset)
    policy = "mixed_float16" if option == "mixed_precision" else "float32"
    changed = prepare(preset, policy, **OPTIONS[option])
    # The mean of a first epoch's losses: the same computation, less exact with halves.
    losses = [run()[0] for run in (changed, plain)]
    parity = np.isclose(*losses, rtol=1e-2 if option == "mixed_precision" else 1e-4)
    return measure.compare(
        f"{preset}_{option}", changed, plain, repeats, STEPS, 1, parity, PACKAGES
    )


def prepare(preset: str, policy: str = "float32", **changes):
    """Builds a model; gives the function that trains for some steps."""
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_dtype_policy(policy)
    model = presets.build(preset, dropout_rate=0.0)
    keras.mixed_precision.set_dtype_policy("float32")
    CaptioningTask.compile_for(model, recipes.complete(FitConfig(preset=preset)), 1000)
    for name, value in changes.items():
        setattr(model, name, value)
    batch, size = (8, model.image_size) if "base" in preset else (32, model.image_size)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3)).astype(np.uint8)
    ids = rng.integers(4, model.vocab_size, (2, batch, 21)).astype(np.int32)
    inputs = {"images": images, "token_ids": ids[0], "target_ids": ids[1]}
    weights = np.ones(ids[1].shape, np.float32)
    batches = threads.repeat_batch((inputs, ids[1], weights))

    def run():
        history = model.fit(batches, steps_per_epoch=STEPS, verbose=0, shuffle=False)
        return history.history["loss"]

    return run


if __name__ == "__main__":
    sys.exit(main())
