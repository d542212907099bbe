"""Loads pretrained CLIP-like models for interrogation, from presets or folders."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import keras_hub
import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.interrogation import clip_tokens, packed_tokens, presets, table_sources
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogator, require_phrases
from tf_prompt.models import clip
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.options import user_cache

HALF = "float16"
# Older GPUs are not faster in half precision.
_LEAST_CAPABILITY = (7, 0)
_CACHE = "phrase_embeddings"


def load_pretrained(source: str, half: bool | None = None):
    """Loads a pretrained CLIP, MetaCLIP 2 or SigLIP and its tokens.

    Args:
        source: a KerasHub preset, a preset's folder, or a folder in Hugging Face
            format, see `models.clip.load_clip`.
        half: whether the towers compute in half precision; None does so if
            `has_fast_halves`.

    Returns:
        A `CLIPInterrogator`, and the function from texts to its token ids.

    Raises:
        ValueError: if the model is not available or has no tokenizer; for a missing
            preset, the message says where it was looked for and how to get it.
    """
    place = presets.resolve(source)
    if place in clip.NAMES:
        # Only an architecture: its weights would be random.
        raise ValueError(presets.explain_missing(source, "it has no weights"))
    half = has_fast_halves() if half is None else half
    try:
        model = CLIPInterrogator(place, dtype=HALF if half else None)
    except ValueError as error:
        # An error of a hub is the cause; a model of another kind has no cause.
        if os.path.isdir(place) or error.__cause__ is None:
            raise
        reason = _shorten(error.__cause__)
        raise ValueError(presets.explain_missing(source, reason)) from error
    return model, _load_tokens(place, model)


def _shorten(error) -> str:
    if isinstance(error, OSError) and type(error).__name__.endswith("ConnectionError"):
        return "no connection"
    return str(error).strip().split("\n")[0] or type(error).__name__


def _load_tokens(place, model):
    if not isinstance(model.backbone, keras_hub.models.CLIPBackbone):
        return packed_tokens.load_packed_tokens(place, model)
    tokenizer = clip_tokens.load_tokenizer(place)
    if tokenizer.vocabulary_size() != model.vocab_size:
        raise ValueError(
            f"the tokenizer must have {model.vocab_size} entries, as the model has. "
            f"Received: {tokenizer.vocabulary_size()} in {place}"
        )
    return clip_tokens.CLIPTokens(tokenizer, model.max_tokens)


def has_fast_halves() -> bool:
    """Whether there are GPUs, and all compute faster in half precision."""
    gpus = tf.config.list_physical_devices("GPU")
    found = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
    capabilities = [details.get("compute_capability", (0, 0)) for details in found]
    return bool(capabilities) and min(capabilities) >= _LEAST_CAPABILITY


def cache_folder() -> pathlib.Path:
    """Folder in the user's cache for embeddings of phrases, see `user_cache`."""
    return user_cache() / _CACHE


def find_tables(
    names: Sequence[str] | None,
    added: Iterable[str] | Mapping[str, Sequence[str]],
    mode: str,
) -> dict[str, list[str]]:
    """Reads the chosen built-in tables and the user's own.

    Args:
        names: names of built-in tables; None takes those of the mode.
        added: sources as in `table_sources.read_added`, or phrases by table.
        mode: one of `config.MODES`.

    Returns:
        dict from table to its phrases.

    Raises:
        FileNotFoundError, ValueError: for a missing table, or no phrases at all.
    """
    tables = table_sources.read_shipped(names, mode)
    if not isinstance(added, Mapping):
        added = table_sources.read_added(added, mode)
    return table_sources.join_tables(tables, added)


def load_interrogator(
    source: str,
    tables: Mapping[str, Sequence[str]],
    options: InterrogationConfig,
    cache_dir: str | os.PathLike | None = None,
    half: bool | None = None,
    **parts,
) -> Interrogator:
    """Loads a pretrained model as an interrogator.

    Args:
        source, half: see `load_pretrained`.
        tables: phrases by table.
        options: how to interrogate.
        cache_dir: folder for the embeddings of phrases; None takes `cache_folder`.
        **parts: further arguments of `Interrogator`, such as `embedder`.

    Raises:
        ValueError: as `load_pretrained`; also if there are no phrases.
    """
    # Before the model, which takes long to load.
    require_phrases(tables)
    pair = load_pretrained(source, half)
    return embed_phrases(pair, tables, options, cache_dir, **parts)


def embed_phrases(
    pair: tuple,
    tables: Mapping[str, Sequence[str]],
    options: InterrogationConfig,
    cache_dir: str | os.PathLike | None = None,
    **parts,
) -> Interrogator:
    """Builds an interrogator from a loaded model.

    Args:
        pair: result of `load_pretrained`.
        tables, options, cache_dir, **parts: as in `load_interrogator`.
    """
    folder = pathlib.Path(cache_dir or cache_folder())
    return Interrogator(
        *pair, tables, folder, options, resizing=images.BICUBIC, **parts
    )
