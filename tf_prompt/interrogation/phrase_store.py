"""Embeddings of many phrases, computed once, stored on disk, searched in blocks."""

import hashlib
import json
import math
import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tqdm

from tf_prompt.data import vectors as data_vectors
from tf_prompt.files import replacing

# Phrases per file, the most that a killed process loses.
SHARD_SIZE = 512
# Tokens per batch.
_TOKENS_AT_ONCE = 4096
# Larger tables are memory-mapped.
_HELD_BYTES = 2**26


def embed_texts(
    model, tokens, texts: Sequence[str], advance: Callable[[int], object] | None = None
) -> np.ndarray:
    """Embeds texts.

    Texts of similar length are batched together, so that few tokens are padding; none
    for a causal model.

    Args:
        model: a `CLIPInterrogator`.
        tokens: its `CLIPTokens` or `PackedTokens`.
        texts: the texts.
        advance: function called with the size of each finished batch.

    Returns:
        float32 `(texts, dim)`, rows of unit length.
    """
    rows = tokens.rows(texts)
    result = np.empty((len(rows), model.embedding_dim), np.float32)
    for part in split_batches([len(row) for row in rows]):
        ids = tokens.pad([rows[index] for index in part])
        result[part] = model.text_network.predict_on_batch(ids)
        if advance is not None:
            advance(len(part))
    return result


def split_batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Divides texts into batches of similar numbers of tokens, shortest texts first.

    Args:
        lengths: lengths of the texts in tokens.

    Yields:
        Indices of texts; a batch has at most `_TOKENS_AT_ONCE` tokens with its
        padding, unless a single text has more.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def fingerprint(model, tokens) -> str:
    """Hashes the weights, architecture, precision and tokenizer of a text embedder.

    Args:
        model: a `CLIPInterrogator`.
        tokens: its tokens.

    Returns:
        Hexadecimal digits.
    """
    content = [model.clip, tokens.describe(), model.precision]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for weight in model.text_network.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()


class PhraseTable:
    """Phrases with their embeddings.

    Args:
        phrases: the phrases.
        vectors: float32 `(phrases, dim)`, of unit length; may be a memory map.
    """

    def __init__(self, phrases: Sequence[str], vectors: np.ndarray):
        self.phrases = phrases
        self.vectors = vectors

    def rank(self, images: np.ndarray, num: int, lowest: bool = False):
        """Finds the phrases most similar to each image.

        Args:
            images: float32 `(images, dim)`, embeddings of unit length.
            num: int > 0, phrases per image; fewer if the table has fewer.
            lowest: whether to find the least similar ones instead.

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


class PhraseStore:
    """A folder of phrases that a model has embedded, each once.

    Each file holds some phrases and their vectors and is written atomically, so that a
    killed process resumes after the last one, and processes may share the folder.
    Memory holds one file at a time, for any number of phrases.

    Args:
        model: a `CLIPInterrogator`.
        tokens: its tokens.
        folder: folder for all models; created if missing. It may be removed at any
            time.
    """

    def __init__(self, model, tokens, folder: str | pathlib.Path):
        self._model, self._tokens = model, tokens
        self._folder = pathlib.Path(folder) / fingerprint(model, tokens)[:32]

    def make_tables(
        self, tables: Mapping[str, Sequence[str]]
    ) -> dict[str, PhraseTable]:
        """Builds tables, and embeds phrases that are not in the folder yet.

        Args:
            tables: phrases by table.

        Raises:
            OSError: if the folder is not writable.
            ValueError: if the model returns vectors that are not finite.
        """
        wanted = dict.fromkeys(phrase for table in tables.values() for phrase in table)
        places = self._find(wanted)
        missing = [phrase for phrase in wanted if phrase not in places]
        if missing:
            self._embed(missing)
            places = self._find(wanted)
        return {
            name: PhraseTable(phrases, self._gather(phrases, places))
            for name, phrases in tables.items()
        }

    def _find(self, wanted) -> dict[str, tuple[pathlib.Path, int]]:
        """File and row of each phrase in the folder."""
        places = {}
        for path in sorted(self._folder.glob("*.npz")):
            for row, phrase in enumerate(_read_phrases(path)):
                if phrase in wanted:
                    places[phrase] = path, row
        return places

    def _embed(self, phrases) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tqdm.tqdm(
            total=len(phrases), desc="embedding phrases", unit="phrase", delay=2
        ) as bar:
            for start in range(0, len(phrases), SHARD_SIZE):
                part = phrases[start : start + SHARD_SIZE]
                vectors = embed_texts(self._model, self._tokens, part, bar.update)
                if not np.isfinite(vectors).all():
                    raise ValueError(
                        "`clip` must embed phrases in finite numbers. "
                        f"Received: others in {self._model.precision}"
                    )
                _write(self._folder, part, vectors)

    def _gather(self, phrases, places) -> np.ndarray:
        """Collects a table's vectors, in its order."""
        result = self._make_room((len(phrases), self._model.embedding_dim))
        rows: dict[pathlib.Path, list[tuple[int, int]]] = {}
        for index, phrase in enumerate(phrases):
            path, row = places[phrase]
            rows.setdefault(path, []).append((index, row))
        for path, pairs in rows.items():
            to, of = np.array(pairs).T
            with np.load(path, allow_pickle=False) as content:
                result[to] = content["vectors"][of]
        return result

    def _make_room(self, shape) -> np.ndarray:
        if 4 * math.prod(shape) <= _HELD_BYTES:
            return np.empty(shape, np.float32)
        # A file without a name, which disappears with the process.
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return np.memmap(file, np.float32, "w+", shape=shape)


def _write(folder, phrases, vectors) -> None:
    content = json.dumps(phrases, ensure_ascii=False).encode("utf-8", "surrogatepass")
    name = f"{hashlib.sha256(content).hexdigest()[:32]}.npz"
    with replacing(folder / name) as temporary, open(temporary, "wb") as file:
        np.savez(file, phrases=np.frombuffer(content, np.uint8), vectors=vectors)


def _read_phrases(path) -> list[str]:
    """Phrases of a file; none if it is damaged."""
    try:
        # Not by its name, because NumPy would leave a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            phrases = json.loads(content["phrases"].tobytes())
            # Read to the end, which verifies the checksum.
            whole = len(content["vectors"]) == len(phrases)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []
    return phrases if whole else []
