"""A training step and a decoding step of both base models beside PyTorch, on a GPU.

The Keras backend is KERAS_BACKEND, or the first of JAX, PyTorch and TensorFlow that
sees a GPU. Without a GPU it runs small sizes on the CPU, and says so. ResNet50 is
frozen, weights are random; a decoding step is the captioner's `step`, not the loop.
"""

import os
import sys

import torch

from benchmarks import accelerator, measure

PRESETS = ("lstm_base", "transformer_base")
# Images or prompts of a batch, tokens; steps of training and of decoding in a run;
# pairs of runs.
SIZES, QUICK_SIZES = (64, 31, 10, 200, 9), (4, 16, 1, 8, 3)
PACKAGES = ("keras", "keras-hub", "torch")


def main(argv=None) -> int:
    """Runs the benchmark."""
    parser = measure.build_parser("gpu_step", __doc__)
    add, dtypes = parser.add_argument, ("bfloat16", "float32")
    add("--dtype", choices=dtypes, help="default: bfloat16 on a GPU, else float32")
    add("--compile", action="store_true", help="compile PyTorch's side too")
    add("--peak-tflops", type=float, help="of the GPU, if the table lacks it")
    options = parser.parse_args(argv)
    try:
        place = accelerator.choose(os.environ.get("KERAS_BACKEND"))
    except ValueError as error:
        parser.error(str(error))
    # Keras reads it when it is first imported, below.
    os.environ["KERAS_BACKEND"] = place.backend
    dtype = options.dtype or ("bfloat16" if place.gpu else "float32")
    print(f"{place.backend}, {dtype}, {place.gpu or 'the CPU: no GPU, small sizes'}")
    prepare_torch(place)
    peak = accelerator.find_peak(place, dtype, options.peak_tflops)
    print(f"peak: {peak[0]:.3g} TFLOP a second, {peak[1]}")
    sizes = QUICK_SIZES if options.quick or not place.gpu else SIZES
    return measure.report(*run_all(place, dtype, sizes, peak[0], options.compile))


def prepare_torch(place: accelerator.Place) -> None:
    """Lets PyTorch use what JAX and TensorFlow use by themselves."""
    if place.gpu:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    else:
        torch.set_num_threads(os.cpu_count())


def run_all(place, dtype, sizes, peak, compiled):
    """Yields the results: two steps of two models."""
    from benchmarks import gpu_sides

    batch, tokens, *steps, pairs = sizes
    kinds = ("train", gpu_sides.build_training), ("decode", gpu_sides.build_decoding)
    for preset in PRESETS:
        for (kind, build), count in zip(kinds, steps, strict=True):
            setting = gpu_sides.Setting(
                preset, batch, tokens, count, place.device, dtype, compiled
            )
            sides = build(setting)
            found = measure.compare(
                f"gpu_step_{kind}_{preset}",
                sides.ours,
                sides.rival,
                pairs,
                size=count,
                target=1,
                parity=sides.parity,
                packages=(*PACKAGES, place.backend),
                backend=place.backend,
                device=place.gpu or "CPU",
                dtype=dtype,
                batch=batch,
                rival_compiled=compiled,
            )
            yield {**found, **describe_work(found, sides.flop, peak)}


def describe_work(found: dict, flop: int, peak: float) -> dict:
    """Prints and returns the FLOP of a step, and each side's share of the peak.

    Args:
        found: result of `measure.compare`, in steps a second.
        flop: of a step.
        peak: TFLOP a second.
    """
    rates = {side: found[f"{side}_per_second"] for side in ("ours", "rival")}
    shares = {side: round(flop * rate / peak / 1e12, 4) for side, rate in rates.items()}
    each = ", ".join(
        f"{side} {1000 / rate:.2f} ms, {shares[side]:.1%} of peak"
        for side, rate in rates.items()
    )
    print(f"{found['benchmark']}: {flop / 1e9:.4g} GFLOP a step; {each}")
    return {"flop": flop, "peak_tflops": round(peak, 3), "share_of_peak": shares}


if __name__ == "__main__":
    sys.exit(main())
