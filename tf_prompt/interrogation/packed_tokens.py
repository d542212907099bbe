"""Texts as MetaCLIP 2 and SigLIP read them: pieces, packed by KerasHub."""

import hashlib
from collections.abc import Sequence

import keras_hub
import numpy as np

_PREPROCESSORS = (
    keras_hub.models.MetaCLIP2CausalLMPreprocessor,
    keras_hub.models.SigLIPPreprocessor,
)


class PackedTokens:
    """Turns texts into the `token_ids` of a model that has a preset's preprocessor.

    Args:
        preprocessor: one of KerasHub's that packs `prompts` to `token_ids`, lower case
            included where the model wants it.
        max_tokens: int, the longest text, start and end included.
        is_causal: whether what follows the end of a text may be left away.
    """

    # Other words than CLIP's, and other numbers of them.
    are_of_clip = False

    def __init__(self, preprocessor, max_tokens: int, is_causal: bool):
        self._preprocessor = preprocessor
        # Pictures are not its affair.
        preprocessor.image_converter = None
        self.max_tokens = max_tokens
        self._is_causal = is_causal

    @property
    def pad_id(self) -> int:
        """Id that follows the end of a text."""
        return int(self._preprocessor.tokenizer.pad_token_id)

    def rows(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Gives the int32 ids of each text, without what may be left away."""
        if not len(texts):
            return []
        packed = self._preprocessor(
            {"prompts": list(texts), "images": np.zeros((len(texts), 1), np.float32)},
            sequence_length=self.max_tokens,
        )
        ids = np.asarray(packed["token_ids"], np.int32)
        if not self._is_causal:
            return list(ids)
        lengths = np.asarray(packed["padding_mask"]).sum(axis=1)
        return [row[:length] for row, length in zip(ids, lengths, strict=True)]

    def pad(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Makes rows a batch: int32 `(rows, tokens)`, as long as the longest."""
        longest = max(map(len, rows), default=0)
        result = np.full((len(rows), longest), self.pad_id, np.int32)
        for padded, ids in zip(result, rows, strict=True):
            padded[: len(ids)] = ids
        return result

    def describe(self) -> dict:
        """Tells all that ids depend on, as JSON content."""
        proto = self._preprocessor.tokenizer.proto
        proto = proto if isinstance(proto, bytes) else str(proto).encode()
        return {
            "preprocessor": type(self._preprocessor).__name__,
            "canonical": getattr(self._preprocessor, "canonicalize_text", None),
            "pieces": hashlib.sha256(proto).hexdigest(),
            "max_tokens": self.max_tokens,
        }


def load_packed_tokens(source: str, model) -> PackedTokens:
    """Loads what packs texts for a pretrained model.

    Args:
        source: KerasHub preset or its folder, or one of transformers that KerasHub
            reads.
        model: the `CLIPInterrogator` of the same source.

    Raises:
        ValueError: if it has none that KerasHub can read.
    """
    kind = next(p for p in _PREPROCESSORS if isinstance(model.backbone, p.backbone_cls))
    try:
        preprocessor = kind.from_preset(str(source))
    # Hubs raise errors of several libraries, from requests' to sentencepiece's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"a tokenizer must lie beside the weights. Received: {source} ({reason})"
        ) from error
    return PackedTokens(preprocessor, model.max_tokens, model.is_causal)
