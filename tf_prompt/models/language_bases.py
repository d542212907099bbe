"""Loads pretrained vision-language models from presets, folders and hubs."""

import contextlib
import pathlib
import re
import sys
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import keras
import keras_hub

from tf_prompt.models import language_presets, presets
from tf_prompt.models.fingerprints import fingerprint
from tf_prompt.models.language import LanguageCaptioner
from tf_prompt.models.pretrained import find_statistics

# What hubs answer if the licence of the weights has not been accepted.
_GATED = ("403", "401", "permission", "gated", "consent", "license", "licence")

# How requests and urllib3 report that there is no network.
_UNREACHABLE = re.compile(r"HTTPS?ConnectionPool\(host='([^']+)'")


class OpenBase(NamedTuple):
    """A pretrained base.

    Args:
        network: a KerasHub task, weights included.
        description: argument `base` of `LanguageCaptioner`.
        image_size: side of its images in pixels.
    """

    network: keras.Model
    description: dict
    image_size: int


def find_source(preset: str, given: str | None) -> str | None:
    """Finds where the pretrained base of a run is.

    Args:
        preset: name of the run's preset.
        given: value of `--backbone-weights`.

    Returns:
        A source for `open_base`; None if the base is trained from scratch, or the
        model is not a language model.
    """
    if preset not in language_presets.PRESETS or given == "random":
        return None
    return given or language_presets.SOURCES.get(preset)


def save_tokenizer(
    source: str, family: type[LanguageCaptioner], folder: pathlib.Path
) -> None:
    """Writes the files of a base's tokenizer into a folder, without its weights.

    Args:
        source: a KerasHub preset, from its cache or the network, a preset's folder,
            `hf://USER/MODEL`, or a folder that transformers wrote.
        family: the class of the captioner.
        folder: folder to write; created if needed.

    Raises:
        ValueError: if the base cannot be found, is damaged, or of another family.
    """
    with _explaining(source):
        tokenizer = family.tokenizer_class().from_preset(str(source))
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save_assets(str(folder))


def open_base(
    source: str, family: type[LanguageCaptioner], dtype: str | None = None
) -> OpenBase:
    """Loads a pretrained base; its size is printed on stderr.

    Args:
        source, family: see `save_tokenizer`.
        dtype: precision of its weights; None takes Keras' global policy.

    Raises:
        ValueError: as `save_tokenizer`.
    """
    facts = family.task_class().presets.get(str(source), {}).get("metadata", {})
    if "params" in facts:
        # Two bytes each: bfloat16.
        size = f"{facts['params']:,} parameters, {2 * facts['params'] / 1e9:.1f} GB"
        print(f"loading {source}: {size}, downloaded once", file=sys.stderr)
    with _explaining(source):
        network = family.task_class().from_preset(
            str(source), dtype=dtype or keras.config.dtype_policy()
        )
        tokenizer, backbone = network.preprocessor.tokenizer, network.backbone
        pixels = find_statistics(source, type(backbone))
        description = {
            "source": str(source),
            "sha256": fingerprint(backbone),
            "parameters": backbone.count_params(),
            **family.find_special(tokenizer, backbone),
            "mean": list(pixels.mean),
            "std": list(pixels.std),
        }
    return OpenBase(network, description, family.image_side(backbone))


def build(
    preset: str, source: str, dtype: str | None = None, **overrides
) -> LanguageCaptioner:
    """Builds the model of a preset over a pretrained base.

    Args:
        preset: name of the preset.
        source, dtype: see `open_base`.
        **overrides: arguments of the model's constructor, including `vocab_size`.

    Raises:
        ValueError: as `save_tokenizer`; also for an unknown preset or argument.
    """
    opened = open_base(source, presets.PRESETS[preset][0], dtype)
    base = {"base": opened.description, "image_size": opened.image_size}
    model = presets.build(preset, **{**overrides, **base})
    model.attach(opened.network)
    return model


def attach_base(model, source: str | None) -> None:
    """Attaches the base that a model loaded from its file needs, if any.

    Args:
        model: any model.
        source: see `open_base`.

    Raises:
        ValueError: if the base cannot be found, or is not the one used in training.
    """
    if not getattr(model, "is_whole", True):
        model.attach(open_base(source, type(model)).network)


def attach_shape(model, source: str | None, preset: str) -> None:
    """Attaches a base of the right shape, without loading its weights.

    Call it within a `tf.Graph`, whose variables have no values. The shape of a
    preset's own base is known; that of another is read from its source.

    Args:
        model: any model loaded from its file; changed if it needs a base.
        source: see `open_base`.
        preset: name of the run's preset.

    Raises:
        ValueError: if the base cannot be found.
    """
    if getattr(model, "is_whole", True):
        return
    if source == language_presets.SOURCES.get(preset):
        known = presets.PRESETS[preset][1]["base"]["arguments"]
        model.base = {**model.base, "arguments": known}
        network = model.build_network()
    else:
        with _explaining(source):
            network = model.task_class().from_preset(str(source), load_weights=False)
    model.adopt(network)


def count_download(source: str, preset: str) -> int:
    """Counts the bytes to download for a base; 0 if it is on this machine.

    If the base is not a KerasHub preset, the size of the preset's own base is used.

    Args:
        source: see `open_base`.
        preset: name of the run's preset.
    """
    if pathlib.Path(source).exists() or _is_cached(source):
        return 0
    known = presets.PRESETS[preset][0].task_class().presets
    names = [name for name in (source, language_presets.SOURCES.get(preset)) if name]
    found = [known[name]["metadata"]["params"] for name in names if name in known]
    # Two bytes each: bfloat16, as hubs store them.
    return 2 * found[0] if found else 0


def _is_cached(source: str) -> bool:
    """Whether a hub's weights have been downloaded."""
    if source.startswith("hf://"):
        from huggingface_hub import constants

        name = source.removeprefix("hf://").replace("/", "--")
        folder = pathlib.Path(constants.HF_HUB_CACHE, f"models--{name}", "snapshots")
    else:
        from kagglehub.config import get_cache_folder

        handle = _kaggle_handle(source).removeprefix("kaggle://")
        if not handle:
            return False
        folder = pathlib.Path(get_cache_folder(), "models", handle)
    return any(folder.rglob("*.h5")) or any(folder.rglob("*.safetensors"))


@contextlib.contextmanager
def _explaining(source) -> Iterator[None]:
    """Converts any error to one line that says what `source` must be."""
    try:
        with warnings.catch_warnings():
            # KerasHub leaves the file of pieces to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    # Hubs raise errors of several libraries, from requests' to h5py's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if host := _UNREACHABLE.search(reason):
            reason = f"no connection to {host[1]}"
        elif reason.startswith("Unknown preset identifier"):
            reason = "no such folder, nor a preset of that name"
        hint = ""
        if "vision_model." in str(error):
            hint = (
                ". transformers 5 saved it without `vision_model.` in the names of "
                "weights, which KerasHub 0.32 looks for: save it with transformers 4"
            )
        elif any(word in str(error).lower() for word in _GATED):
            hint = f". Its licence must be accepted first: {_licence_page(source)}"
        raise ValueError(
            "the base must be a preset of KerasHub within reach, a preset's folder or "
            f"a transformers folder of the preset's family. Received: {source} "
            f"({reason}){hint}"
        ) from error


def _licence_page(source) -> str:
    """The hub's page on which a model's licence is accepted."""
    source = str(source)
    if source.startswith("hf://"):
        return f"https://huggingface.co/{source.removeprefix('hf://')}"
    handle = _kaggle_handle(source)
    if not handle:
        return "the model's page on its hub"
    owner, model = handle.removeprefix("kaggle://").split("/")[:2]
    return f"https://www.kaggle.com/models/{owner}/{model}"


def _kaggle_handle(source: str) -> str:
    """The Kaggle handle of a KerasHub preset; empty for anything else."""
    families = keras_hub.models.CausalLM.__subclasses__()
    handles = [f.presets.get(source, {}).get("kaggle_handle", "") for f in families]
    return next(filter(None, handles), "")
