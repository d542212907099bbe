"""Semantic similarity of prompts: the cosine of their embeddings by CLIP."""

import pathlib
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from tf_prompt.inference import pretrained
from tf_prompt.interrogation.phrase_store import embed_texts
from tf_prompt.metrics.cosine import cosines


class SemanticSimilarity:
    """Compares prompts by the text tower of a pretrained CLIP.

    Args:
        source: as of `pretrained.load_pretrained`.

    Attributes:
        signature: what the similarity depends on.

    Call arguments:
        references: true prompts.
        written: by writer, its prompts, in the order of `references`. A text beyond
            CLIP's 77 tokens is cut, and its end token stays.

    Returns:
        dict from writer to float64 `(prompts,)` in -1–1.

    Raises:
        ValueError: if the model is not available or has no tokenizer.

    Reference: Shen et al., 2023, https://arxiv.org/abs/2302.09923.
    """

    def __init__(self, source: str):
        self._model, self._tokens = pretrained.load_pretrained(source, half=False)
        self.signature = (
            f"semantic:cosine of texts by CLIP|model:{pathlib.Path(source).name}|"
            f"tokens:{self._model.max_tokens}|text:words"
        )

    def __call__(
        self, references: Sequence[str], written: Mapping[str, Sequence[str]]
    ) -> dict[str, np.ndarray]:
        texts = list(dict.fromkeys(chain(references, *written.values())))
        vectors = embed_texts(self._model, self._tokens, texts)
        place = {text: number for number, text in enumerate(texts)}
        rows = {
            name: vectors[[place[text] for text in found]]
            for name, found in {"": references, **written}.items()
        }
        return {name: cosines(rows[""], rows[name]) for name in written}
