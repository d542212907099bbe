"""Texts for an embedding: the prompts of a bank that are nearest to it."""

import hashlib
import os
import pathlib
import uuid
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import records, targets
from tf_prompt.data.vectors import map_array, nearest_rows
from tf_prompt.metrics import prompt_embedder

# Prompts between two steps of the bar; each is embedded in smaller batches.
_PROMPTS_AT_ONCE = 2048


class PromptBank:
    """Prompts, and the embedding of each.

    Args:
        prompts: distinct texts, at least one.
        embeddings: float32 `(prompts, 384)` of unit length; may be a memory map.

    Raises:
        ValueError: if they are not equally many, or there is none.
    """

    def __init__(self, prompts: Sequence[str], embeddings: np.ndarray):
        if not len(prompts) or len(prompts) != len(embeddings):
            raise ValueError(
                "prompts and embeddings must be equally many, and at least one. "
                f"Received: {len(prompts)} and {len(embeddings)}"
            )
        self.prompts = list(prompts)
        self.embeddings = embeddings

    def nearest(self, embeddings, k: int = 1) -> tuple[list[list[str]], np.ndarray]:
        """Finds the prompts whose embeddings are most similar.

        Args:
            embeddings: float `(queries, 384)`, any length of vector.
            k: int in 1-number of prompts.

        Returns:
            prompts: k a query, the most similar first.
            cosines: float32 `(queries, k)`.

        Raises:
            ValueError: if k or the shape does not fit.
        """
        rows, cosines = nearest_rows(np.asarray(embeddings), self.embeddings, k)
        return [[self.prompts[row] for row in best] for best in rows], cosines


def build_bank(
    prompts: Iterable[str],
    embedder: prompt_embedder.PromptEmbedder,
    cache: str | pathlib.Path,
) -> PromptBank:
    """Embeds prompts, or finds their embeddings on disk.

    The name of the cached file depends on the prompts, their order and the
    embedder's signature: another bank never reads it. The file is whole or absent.

    Args:
        prompts: texts; of equal ones the first is kept.
        embedder: from `metrics.cosine.load_embedder`.
        cache: folder of cached embeddings, made if absent.

    Raises:
        ValueError: if there is no prompt.
    """
    prompts = list(dict.fromkeys(prompts))
    if not prompts:
        raise ValueError("prompts must hold at least one text. Received: none")
    digest = hashlib.blake2b(
        prompt_embedder.signature(embedder).encode(), digest_size=16
    )
    for prompt in prompts:
        # The length goes first: no two lists of prompts give the same bytes.
        encoded = prompt.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    path = pathlib.Path(cache) / f"bank-{digest.hexdigest()}.npy"
    embeddings = _read_cached(path, len(prompts))
    if embeddings is None:
        _write_cached(path, prompts, embedder)
        embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    return PromptBank(prompts, embeddings)


def training_bank(folder: str | pathlib.Path) -> PromptBank:
    """Makes a bank of the training split's prompts, as their users wrote them.

    Their embeddings are those that `data.targets` keeps beside the shards.

    Args:
        folder: shards of `pipelines.write_records`.

    Raises:
        FileNotFoundError: if the folder holds no training shard.
    """
    rows: dict[str, np.ndarray] = {}
    paths = targets.target_shards(folder, "train")
    shards = records.list_shards(folder, "train")
    for shard, path in zip(
        tqdm.tqdm(shards, "reading prompts", delay=2), paths, strict=True
    ):
        vectors = tf.data.TFRecordDataset(path).map(targets.parse_target)
        for prompt, vector in zip(
            targets.read_prompts(shard), vectors.as_numpy_iterator(), strict=True
        ):
            rows.setdefault(prompt, vector)
    return PromptBank(list(rows), np.stack(list(rows.values())))


def read_bank(path: str | pathlib.Path) -> list[str]:
    """Reads the distinct prompts of a text file of one a line; empty lines go.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not UTF-8, or holds no prompt.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"the bank must be a text file. Received: {path}")
    try:
        # Not splitlines: U+2028 and its like may stand inside a prompt.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"the bank must be UTF-8 text. Received: {path}") from error
    prompts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not prompts:
        raise ValueError(f"the bank must hold a prompt a line. Received: {path}")
    return prompts


def _read_cached(path, count):
    try:
        embeddings = map_array(path)
    except (OSError, ValueError):
        # Absent, or damaged by something else: it is written again.
        return None
    return (
        embeddings
        if embeddings.shape == (count, prompt_embedder.EMBEDDING_DIM)
        else None
    )


def _write_cached(path, prompts, embedder) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    shape = len(prompts), prompt_embedder.EMBEDDING_DIM
    try:
        # Written as it is computed: a million embeddings fill 1.5 GB.
        rows = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        with tqdm.tqdm(total=len(prompts), desc="embedding", delay=2) as bar:
            for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
                part = prompts[start : start + _PROMPTS_AT_ONCE]
                rows[start : start + len(part)] = prompt_embedder.embed(part, embedder)
                bar.update(len(part))
        rows.flush()
        del rows
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
