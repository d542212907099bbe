"""A training step of both base models against the same step in PyTorch.

Batches of 16 pictures of 224 pixels and 31 tokens, ResNet50 frozen, AdamW,
gradients clipped, random weights, two threads each. With `--compile` PyTorch
compiles its model, which needs a C++ compiler.
"""

import os
import sys

import numpy as np
import torch

from benchmarks import accelerator, measure, threads, twins

threads.pin()

from tf_prompt.models import presets  # noqa: E402
from tf_prompt.runs.config import FitConfig  # noqa: E402
from tf_prompt.training import recipes  # noqa: E402
from tf_prompt.training.tasks.captioning import CaptioningTask  # noqa: E402

VOCABULARY = 46664
PACKAGES = ("tensorflow", "keras", "torch")


def main(argv=None) -> int:
    """Runs the benchmark."""
    parser = measure.build_parser("train_step", __doc__)
    parser.add_argument("--compile", action="store_true", help="rival: torch.compile")
    parser.add_argument("--preset", choices=twins.TWINS, help="one model only")
    options = parser.parse_args(argv)
    sizes = (8, 16, 1, 2) if options.quick else (16, 31, 2, 5)
    chosen = [options.preset] if options.preset else twins.TWINS
    return measure.report(*(compare(p, *sizes, options.compile) for p in chosen))


def compare(preset, batch, tokens, steps, repeats, compiled=False) -> dict:
    """Steps a second of one model, both sides on the same batch."""
    model = presets.build(preset)
    rival = twins.TWINS[preset](VOCABULARY)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 224, 224, 3)).astype(np.uint8)
    ids = rng.integers(4, VOCABULARY, (2, batch, tokens)).astype(np.int32)
    twins.copy_weights(model, rival)
    parity = twins.same_loss(model, rival, *ids)
    if compiled:
        rival = torch.compile(rival)
    config = recipes.complete(FitConfig(preset=preset))
    CaptioningTask.compile_for(model, config, 1000)
    seconds = {}

    def note(name, run):
        seconds.setdefault(name, []).append(measure.time_of(run) / steps)
        return 1 / seconds[name][-1]

    ours, theirs = (
        keras_steps(model, images, *ids, steps),
        twins.torch_steps(rival, images, *ids, steps, config),
    )
    ratios = measure.compare_rates(
        lambda: note("ours", ours), lambda: note("rival", theirs), repeats
    )
    medians = {k: round(float(np.median(v[1:])), 2) for k, v in seconds.items()}
    gflop = twins.count_training(preset, batch, tokens, VOCABULARY) / 1e9
    found = measure.result(
        f"train_step_{preset}{'_compiled' * compiled}",
        ratios,
        1.2 if compiled else 1,
        parity,
        PACKAGES,
        batch=batch,
        tokens=tokens,
        seconds_per_step=medians,
        gflop=round(gflop, 1),
        gflop_per_second={k: round(gflop / v) for k, v in medians.items()},
        peak=round(1000 * accelerator.measure_product(2048, "cpu", "float32")),
        load=round(os.getloadavg()[0], 1),
    )
    print(found, file=sys.stderr, flush=True)
    return found


def keras_steps(model, images, token_ids, targets, steps: int):
    """Ours, as `fit` runs it."""
    inputs = {"images": images, "token_ids": token_ids, "target_ids": targets}
    weights = np.ones(targets.shape, np.float32)
    batches = threads.repeat_batch((inputs, targets, weights))
    return lambda: model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)


if __name__ == "__main__":
    sys.exit(main())
