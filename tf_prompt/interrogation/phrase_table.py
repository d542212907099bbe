"""Embeddings of many phrases: computed once, kept on disk, searched in blocks."""

import hashlib
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tqdm

from tf_prompt.data import vectors as data_vectors
from tf_prompt.files import replacing

# Texts that go through the network at once.
TEXT_BLOCK = 256


def encode_texts(model, tokens, texts: Sequence[str]):
    """Embeds texts in blocks.

    Args:
        model: a `CLIPInterrogator`.
        tokens: its `clip_tokens.CLIPTokens`.
        texts: any number.

    Yields:
        float32 `(texts of the block, dim)`, of unit length.
    """
    for start in range(0, len(texts), TEXT_BLOCK):
        token_ids = tokens(texts[start : start + TEXT_BLOCK])
        yield model.text_network.predict_on_batch(token_ids)


def fingerprint(model, tokens) -> str:
    """Names weights, architecture and tokenizer: equal ones embed texts alike."""
    digest = hashlib.sha256(
        json.dumps([model.clip, tokens.describe()], sort_keys=True).encode()
    )
    for weight in model.text_network.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()


class PhraseTable:
    """Phrases with their embeddings on disk.

    Args:
        phrases: the phrases.
        vectors: float32 `(phrases, dim)`, of unit length; may be a memory map.
    """

    def __init__(self, phrases: Sequence[str], vectors: np.ndarray):
        self.phrases = phrases
        self.vectors = vectors

    def rank(self, images: np.ndarray, num: int, lowest: bool = False):
        """Finds the phrases most like each picture.

        Args:
            images: float32 `(images, dim)`, of unit length.
            num: int > 0, phrases an image; fewer if the table has fewer.
            lowest: whether to find the least like ones instead.

        Returns:
            scores: float32 `(images, num)`, cosines, the best first.
            indices: int64 `(images, num)`, into `phrases`.
        """
        sign = -1 if lowest else 1
        indices, cosines = data_vectors.nearest_rows(
            sign * images,
            self.vectors,
            min(num, len(self.phrases)),
            np.ones(len(self.phrases), np.float32),
        )
        return sign * cosines, indices


def embed_table(
    name: str,
    phrases: Sequence[str],
    model,
    tokens,
    model_key: str,
    folder: str | pathlib.Path,
) -> PhraseTable:
    """Embeds a table of phrases, or reads what was computed before.

    The file's name is a hash of all that its content depends on. It is written
    under a temporary name: an interrupted process leaves no half file.

    Args:
        name: of the table, for the progress bar.
        phrases: the phrases.
        model: a `CLIPInterrogator`.
        tokens: its `clip_tokens.CLIPTokens`.
        model_key: `fingerprint` of both.
        folder: of the cache; made if it is missing.
    """
    folder = pathlib.Path(folder)
    content = json.dumps([model_key, list(phrases)]).encode()
    path = folder / f"{hashlib.sha256(content).hexdigest()[:32]}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _write_vectors(path, name, phrases, model, tokens)
    return PhraseTable(phrases, np.load(path, mmap_mode="r", allow_pickle=False))


def _write_vectors(path, name, phrases, model, tokens):
    shape = (len(phrases), model.embedding_dim)
    with replacing(path) as temporary:
        vectors = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.float32, shape=shape
        )
        hidden = len(phrases) <= 4 * TEXT_BLOCK
        start, bar = 0, tqdm.tqdm(total=len(phrases), desc=name, disable=hidden)
        with bar:
            for block in encode_texts(model, tokens, phrases):
                vectors[start : start + len(block)] = block
                start += len(block)
                bar.update(len(block))
        vectors.flush()
        del vectors
