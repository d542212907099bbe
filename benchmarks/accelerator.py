"""Which Keras backend sees a GPU, and what its hardware can do at most."""

import importlib.util
import os
import time
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

BACKENDS = ("jax", "torch", "tensorflow")
# TFLOP a second of dense products in bfloat16 and in TensorFloat-32, by NVIDIA's data
# sheets. A name of a GPU that contains several takes the first.
PEAKS = {
    "H200": (989, 495),
    "H100 PCIe": (756, 378),
    "H100": (989, 495),
    "A100": (312, 156),
    "A10": (125, 62.5),
    "L40S": (362, 183),
    "L4": (121, 60),
}


class Place(NamedTuple):
    """Where both sides run.

    Attributes:
        backend: Keras backend of our side.
        gpu: name of the GPU; None for the CPU.
    """

    backend: str
    gpu: str | None

    @property
    def device(self) -> str:
        """PyTorch's name of the device."""
        return "cuda" if self.gpu else "cpu"


def choose(given: str | None = None) -> Place:
    """Chooses the first installed backend that sees a GPU, else one for the CPU.

    Args:
        given: the only backend to consider; None considers all of `BACKENDS`.

    Raises:
        ValueError: if the backend is unknown or missing, or if it sees a GPU that
            PyTorch does not see.
    """
    if given and given not in BACKENDS:
        rule = ", ".join(BACKENDS)
        raise ValueError(f"KERAS_BACKEND must be one of {rule}. Received: {given}")
    candidates = [given] if given else BACKENDS
    installed = [name for name in candidates if importlib.util.find_spec(name)]
    if not installed:
        raise ValueError(f"KERAS_BACKEND must be installed. Received: {given}")
    # Otherwise JAX and TensorFlow would leave PyTorch no memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = next(filter(_sees_gpu, installed), None)
    if backend is None:
        return Place(installed[0], None)
    if not torch.cuda.is_available():
        raise ValueError(f"PyTorch must see the GPU that {backend} sees.")
    return Place(backend, torch.cuda.get_device_name())


def _sees_gpu(backend: str) -> bool:
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if backend == "torch":
        return torch.cuda.is_available()
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))


def find_peak(
    place: Place, dtype: str, given: float | None = None
) -> tuple[float, str]:
    """Finds the highest rate of matrix products, and says where it is from.

    Args:
        place: from `choose`.
        dtype: `bfloat16` or `float32`.
        given: the rate, if it is known.

    Returns:
        TFLOP a second, and the source: NVIDIA's data sheet, or for what `PEAKS` lacks
        a large product, measured.
    """
    if given:
        return given, "given"
    for name, peaks in PEAKS.items():
        if name in (place.gpu or ""):
            return peaks[dtype == "float32"], f"data sheet of {name}"
    side = 16384 if place.gpu else 2048
    return measure_product(side, place.device, dtype), f"product of {side} x {side}"


def measure_product(side: int, device: str, dtype: str, repeats: int = 5) -> float:
    """TFLOP a second of a square product in PyTorch, the best of some."""
    x = torch.randn(side, side, device=device, dtype=getattr(torch, dtype))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        (x @ x)[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds) / 1e12


def count_flop(run) -> int:
    """Counts the FLOP of matrix products and convolutions that PyTorch runs."""
    # Fused attention would not be counted on every device.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
