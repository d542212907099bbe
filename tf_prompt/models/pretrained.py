"""Loads image networks from KerasHub presets, their folders or transformers folders."""

import contextlib
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import keras_hub

from tf_prompt.models import clip_conversion


class PixelStatistics(NamedTuple):
    """Mean and standard deviation of pixels 0-1, one number per channel."""

    mean: Sequence[float]
    std: Sequence[float]


IMAGENET = PixelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Of OpenAI's training images; the OpenCLIP presets and MetaCLIP have the same.
CLIP = PixelStatistics(
    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
HALVES = PixelStatistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# What networks of each class were trained with; all other classes with `IMAGENET`.
_STATISTICS = {
    keras_hub.models.CLIPVisionEncoder: CLIP,
    keras_hub.models.MetaCLIP2VisionEncoder: CLIP,
    keras_hub.models.SigLIPVisionEncoder: HALVES,
    keras_hub.models.ViTBackbone: HALVES,
    keras_hub.models.PaliGemmaBackbone: HALVES,
    keras_hub.models.Gemma3Backbone: HALVES,
    keras_hub.models.BLIP2Backbone: CLIP,
}
# Models of which only the vision tower is used.
_WITH_TEXT = (
    keras_hub.models.CLIPBackbone,
    keras_hub.models.MetaCLIP2Backbone,
    keras_hub.models.SigLIPBackbone,
)
# KerasHub's converters look for weights with the name prefix of a classifier.
_CLASSIFIERS_ONLY = {
    "vit": "ViTForImageClassification",
    "deit": "DeiTForImageClassification",
}


def open_network(source: str, rule: str, load_weights: bool = True) -> keras.Model:
    """Loads an image network, or the vision tower of an image-text model.

    Args:
        source: a KerasHub preset, `hf://USER/MODEL`, a preset's folder, or a folder
            in the format of transformers.
        rule: start of the error message, which says what `source` must be.
        load_weights: whether to load weights too.

    Returns:
        A KerasHub backbone or vision encoder.

    Raises:
        ValueError: if it cannot be downloaded, is damaged, or is not an image network.
    """
    with explaining(rule, source):
        config = _read_transformers_config(source)
    _require_readable(source, config)
    with explaining(rule, source):
        if config.get("model_type") == "clip":
            return clip_conversion.convert(source).vision_encoder
        network = keras_hub.models.Backbone.from_preset(
            str(source), load_weights=load_weights
        )
    if isinstance(network, _WITH_TEXT):
        return network.vision_encoder
    if not {"image_shape", "input_shape"} & network.get_config().keys():
        raise ValueError(
            f"backbone must be an image network. Received: {type(network).__name__}"
        )
    return network


def find_statistics(source: str, network_class: type) -> PixelStatistics:
    """Returns the mean and standard deviation with which a preset scales pixels.

    Args:
        source: as in `open_network`.
        network_class: class of its network, whose usual statistics are returned if the
            preset names none.
    """
    path = pathlib.Path(source) / "preprocessor_config.json"
    if path.is_file():
        return _read_processor(_read_json(path), network_class)
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(str(source))
    # A preset may come without one, and many transformers folders do.
    except (ValueError, OSError):
        converter = None
    if converter is None:
        return usual_statistics(network_class)
    scale, offset = _per_channel(converter.scale, 1), _per_channel(converter.offset, 0)
    # The preset's layer computes pixels * scale + offset.
    std = [1 / (255 * s) for s in scale]
    return PixelStatistics([-o * s for o, s in zip(offset, std, strict=True)], std)


def usual_statistics(
    network_class: type, default: PixelStatistics = IMAGENET
) -> PixelStatistics:
    """Returns the usual statistics for a class of networks, or the default."""
    return _STATISTICS.get(network_class, default)


@contextlib.contextmanager
def explaining(rule: str, source) -> Iterator[None]:
    """Context manager that turns any error into one line with the rule for `source`."""
    try:
        yield
    # Hubs raise errors of several libraries, from requests' to h5py's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"{rule}. Received: {source} ({reason}). Without a network give a preset's "
            "folder or a .weights.h5 file with --backbone-weights, or train on random "
            "ones with --backbone-weights random"
        ) from error


def _read_transformers_config(source) -> dict:
    if not clip_conversion.is_transformers_folder(source):
        return {}
    return _read_json(pathlib.Path(source) / "config.json")


def _require_readable(source, config) -> None:
    kind, names = config.get("model_type"), config.get("architectures") or []
    if kind in _CLASSIFIERS_ONLY and not any("ForImage" in name for name in names):
        raise ValueError(
            f"a transformers folder of model_type {kind} must hold a "
            f"{_CLASSIFIERS_ONLY[kind]}, which KerasHub can read. "
            f"Received: {source} with {', '.join(names) or 'no architecture'}"
        )


def _read_processor(content, network_class) -> PixelStatistics:
    """Reads the scaling of a transformers image processor: factor, mean, std."""
    usual = usual_statistics(network_class)
    if not content.get("do_normalize", True):
        usual = PixelStatistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mean = content.get("image_mean") or usual.mean
    std = content.get("image_std") or usual.std
    factor = content.get("rescale_factor", 1 / 255)
    if not content.get("do_rescale", True):
        factor = 1
    # Ours are for pixels 0-1, these for pixels 0-255 times the factor.
    unit = 1 / (255 * factor)
    return PixelStatistics(
        [unit * value for value in _per_channel(mean, 0)],
        [unit * value for value in _per_channel(std, 1)],
    )


def _read_json(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _per_channel(value, default) -> list[float]:
    value = default if value is None else value
    return [float(v) for v in (value if hasattr(value, "__len__") else [value] * 3)]
