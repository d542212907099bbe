"""Embeddings of many phrases: each computed once, kept on disk, searched in blocks."""

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

# Phrases of one file: what a killed process loses at most.
SHARD_SIZE = 512
# Tokens that go through the network at once.
_TOKENS_AT_ONCE = 4096
# Vectors of a table that are held in memory; more are mapped from disk.
_HELD_BYTES = 2**26


def embed_texts(
    model, tokens, texts: Sequence[str], advance: Callable[[int], object] | None = None
) -> np.ndarray:
    """Embeds texts.

    Those of like length go through the network together, so that few of the tokens
    are padding; of a causal model none.

    Args:
        model: a `CLIPInterrogator`.
        tokens: its tokens, of `clip_tokens` or `packed_tokens`.
        texts: any number.
        advance: function that is told how many were embedded, each time some were.

    Returns:
        float32 `(texts, dim)`, of unit length.
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
    """Cuts texts into batches of about as many tokens, the shortest texts first.

    Args:
        lengths: of texts, in tokens.

    Yields:
        Indices of texts; no batch has more than `_TOKENS_AT_ONCE` with its padding,
        but for a text that has more by itself.
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
    """Names weights, architecture, precision and tokenizer: what embeds texts alike."""
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


class PhraseStore:
    """A folder of phrases that a model has embedded, none twice.

    A file holds some phrases and their vectors. It appears whole, so that a killed
    process goes on behind the last one, and processes may share the folder. Memory
    holds one file, whatever the number of phrases.

    Args:
        model: a `CLIPInterrogator`.
        tokens: its tokens.
        folder: of all models; made if it is missing. It may be removed at any time.
    """

    def __init__(self, model, tokens, folder: str | pathlib.Path):
        self._model, self._tokens = model, tokens
        self._folder = pathlib.Path(folder) / fingerprint(model, tokens)[:32]

    def make_tables(
        self, tables: Mapping[str, Sequence[str]]
    ) -> dict[str, PhraseTable]:
        """Makes tables, embedding what is new to the folder.

        Args:
            tables: phrases by table.

        Raises:
            OSError: if the folder cannot be written.
            ValueError: if the model gives what is no vector.
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
        """File and row of each phrase that is there."""
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
        """Brings a table's vectors together, in its order."""
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
        # A file without a name: it is gone with the process.
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return np.memmap(file, np.float32, "w+", shape=shape)


def _write(folder, phrases, vectors) -> None:
    content = json.dumps(phrases, ensure_ascii=False).encode("utf-8", "surrogatepass")
    name = f"{hashlib.sha256(content).hexdigest()[:32]}.npz"
    with replacing(folder / name) as temporary, open(temporary, "wb") as file:
        np.savez(file, phrases=np.frombuffer(content, np.uint8), vectors=vectors)


def _read_phrases(path) -> list[str]:
    """Phrases of a file; none of one that something else has damaged."""
    try:
        # Not by its name: NumPy leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            phrases = json.loads(content["phrases"].tobytes())
            # To the end, whose checksum tells a damaged file.
            whole = len(content["vectors"]) == len(phrases)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []
    return phrases if whole else []
