"""The GPUs that a machine has, and why TensorFlow does not see one of them."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from tf_prompt.options import option

_DRIVER = pathlib.Path("/proc/driver/nvidia/gpus")
_DEVICE = pathlib.Path("/dev/nvidia0")
# WSL2 has no such files, and its nvidia-smi may not be on PATH.
_WSL_DEVICE = pathlib.Path("/dev/dxg")
_WSL_PROGRAM = "/usr/lib/wsl/lib/nvidia-smi"
# One of the packages of tensorflow[and-cuda].
_CUDA_PACKAGE = "nvidia-cudnn-cu12"
_QUESTION = """
import json
import tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
details = map(tf.config.experimental.get_device_details, gpus)
print(json.dumps([d.get("device_name", "GPU") for d in details]))
"""


def gpu_memory_option():
    """Declares the flag `--gpu-memory`, for `inference.devices.bound_gpu_memory`."""
    return option(
        None,
        "maximum memory to use on each GPU, in MB (default: TensorFlow takes more as "
        "it needs it)",
        metavar="MB",
        group="devices",
    )


def list_nvidia_gpus() -> list[str]:
    """Returns the names of the NVIDIA GPUs that the driver sees.

    If `CUDA_VISIBLE_DEVICES` hides all GPUs, that is deliberate: the list is empty.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return []
    names = _ask_driver()
    if not names and _DRIVER.is_dir():
        names = [_read_model(folder) for folder in sorted(_DRIVER.iterdir())]
    return names or ["NVIDIA GPU"] * _DEVICE.exists()


def _ask_driver() -> list[str]:
    program = shutil.which("nvidia-smi") or shutil.which(_WSL_PROGRAM)
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def _read_model(folder: pathlib.Path) -> str:
    try:
        text = (folder / "information").read_text(errors="replace")
    except OSError:
        return "NVIDIA GPU"
    lines = dict(line.partition(":")[::2] for line in text.splitlines())
    return lines.get("Model", "NVIDIA GPU").strip()


def explain_unseen(names: list[str]) -> str:
    """Explains in one line why TensorFlow does not see a GPU, and what helps.

    Args:
        names: at least one name from `list_nvidia_gpus`.
    """
    seen = f"TensorFlow does not see the {names[0]} of this machine"
    if not _DEVICE.exists() and not _WSL_DEVICE.exists():
        return f"{seen}: the container has no access. Run: docker run --gpus all …"
    # Imported here, because `--help` should not wait for it.
    from importlib import metadata

    if not any(metadata.distributions(name=_CUDA_PACKAGE)):
        return f'{seen}. NVIDIA\'s libraries are missing: pip install "tf_prompt[gpu]"'
    return (
        f"{seen}, though NVIDIA's libraries are installed. Update the driver until "
        "nvidia-smi shows CUDA 12 or later; TF_CPP_MIN_LOG_LEVEL=0 shows the reason"
    )


def ask_tensorflow() -> dict:
    """Asks TensorFlow, in another process, which GPUs it sees.

    Another process, because the import may crash, as on a CPU without AVX.

    Returns:
        dict of `gpus`, the names of the GPUs, and `error`, why TensorFlow cannot be
        imported, or None.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _QUESTION],
            capture_output=True,
            text=True,
            timeout=180,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"gpus": [], "error": str(error)}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = f"it ended with exit code {done.returncode}"
        if done.returncode < 0:
            reason = f"signal {-done.returncode} killed it; does this CPU have AVX?"
        return {"gpus": [], "error": lines[-1] if done.returncode > 0 else reason}
    return {"gpus": json.loads(done.stdout.splitlines()[-1]), "error": None}
