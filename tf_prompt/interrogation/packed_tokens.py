"""The tokens of MetaCLIP 2 and SigLIP: SentencePiece, packed by KerasHub."""

import hashlib
from collections.abc import Sequence

import keras_hub
import numpy as np

_PREPROCESSORS = (
    keras_hub.models.MetaCLIP2CausalLMPreprocessor,
    keras_hub.models.SigLIPPreprocessor,
)


class PackedTokens:
    """Converts texts to the `token_ids` of a model with a KerasHub preprocessor.

    Args:
        preprocessor: KerasHub preprocessor that packs `prompts` into `token_ids`, and
            converts them to lower case if the model needs it.
        max_tokens: int. Maximum length, start and end tokens included.
        is_causal: whether the text tower's attention is causal, so that padding may
            be left out.
    """

    # `--max-clip-tokens` counts CLIP's tokens, which these are not.
    are_of_clip = False

    def __init__(self, preprocessor, max_tokens: int, is_causal: bool):
        self._preprocessor = preprocessor
        # Images are preprocessed elsewhere.
        preprocessor.image_converter = None
        self.max_tokens = max_tokens
        self._is_causal = is_causal

    @property
    def pad_id(self) -> int:
        """Id of the padding after the end of a text."""
        return int(self._preprocessor.tokenizer.pad_token_id)

    def rows(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes texts.

        Returns:
            One int32 array `(tokens,)` per text; without padding if the model is
            causal, else `max_tokens` long.
        """
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
        """Pads rows to a batch as long as its longest row.

        Args:
            rows: int32 arrays `(tokens,)`, from `rows`.

        Returns:
            int32 `(rows, tokens)`.
        """
        longest = max(map(len, rows), default=0)
        result = np.full((len(rows), longest), self.pad_id, np.int32)
        for padded, ids in zip(result, rows, strict=True):
            padded[: len(ids)] = ids
        return result

    def describe(self) -> dict:
        """Returns everything that the ids depend on, as a JSON-compatible dict."""
        proto = self._preprocessor.tokenizer.proto
        proto = proto if isinstance(proto, bytes) else str(proto).encode()
        return {
            "preprocessor": type(self._preprocessor).__name__,
            "canonical": getattr(self._preprocessor, "canonicalize_text", None),
            "pieces": hashlib.sha256(proto).hexdigest(),
            "max_tokens": self.max_tokens,
        }


def load_packed_tokens(source: str, model) -> PackedTokens:
    """Loads the tokens of a pretrained MetaCLIP 2 or SigLIP.

    Args:
        source: KerasHub preset or its folder, or a transformers folder that KerasHub
            can read.
        model: the `CLIPInterrogator` of the same source.

    Raises:
        ValueError: if there is no tokenizer that KerasHub can read.
    """
    kind = next(p for p in _PREPROCESSORS if isinstance(model.backbone, p.backbone_cls))
    try:
        preprocessor = kind.from_preset(str(source))
    # Hubs raise errors of several libraries, from requests' to sentencepiece's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"a tokenizer must be beside the weights. Received: {source} ({reason})"
        ) from error
    return PackedTokens(preprocessor, model.max_tokens, model.is_causal)
