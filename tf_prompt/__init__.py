"""tf_prompt: from images made by Stable Diffusion back to their prompts.

The public names are imported on first use: `import tf_prompt` is instant, and no
`--help` waits for TensorFlow.
"""

import importlib
import logging
import warnings

__version__ = "0.1.0"

# The module of each public name.
_PLACES = {
    "FitConfig": "tf_prompt.runs.config",
    "Interrogator": "tf_prompt.inference.asking",
    "Prompt": "tf_prompt.api",
    "Run": "tf_prompt.runs.run",
    "build": "tf_prompt.models.presets",
    "load": "tf_prompt.api",
    "push": "tf_prompt.serving.hub",
    "score": "tf_prompt.metrics.score",
    "train": "tf_prompt.api",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module 'tf_prompt' has no attribute {name!r}")
    from tf_prompt.options import prepare_environment

    prepare_environment()
    _quiet_libraries()
    return getattr(importlib.import_module(_PLACES[name]), name)


def _quiet_libraries() -> None:
    """Silences two warnings that users of a notebook can do nothing about.

    TensorFlow takes the first calls of several models for retracing of one, and
    huggingface_hub asks for ipywidgets when it is imported.
    """
    # A filter, because TensorFlow sets the level itself when it is imported.
    logging.getLogger("tensorflow").addFilter(_is_no_retracing)
    warnings.filterwarnings("ignore", message="IProgress not found")


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in str(record.msg)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
