"""Banks of prompts, from which the nearest to an embedding are chosen."""

import hashlib
import os
import pathlib
import uuid
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import records, targets
from tf_prompt.data.graphs import without_tuning
from tf_prompt.data.vectors import map_array, nearest_rows
from tf_prompt.metrics import prompt_embedder

# Prompts per step of the progress bar; they are embedded in smaller batches.
_PROMPTS_AT_ONCE = 2048


class PromptBank:
    """Prompts with their embeddings.

    Args:
        prompts: distinct prompts, at least one.
        embeddings: float32 `(prompts, 384)`, rows of unit length; may be a memory map.

    Raises:
        ValueError: if the lengths differ or are 0.
    """

    def __init__(self, prompts: Sequence[str], embeddings: np.ndarray):
        if not len(prompts) or len(prompts) != len(embeddings):
            raise ValueError(
                "prompts and embeddings must have equal lengths, at least 1. "
                f"Received: {len(prompts)} and {len(embeddings)}"
            )
        self.prompts = list(prompts)
        self.embeddings = embeddings

    def nearest(self, embeddings, k: int = 1) -> tuple[list[list[str]], np.ndarray]:
        """Finds the prompts with the most similar embeddings.

        Args:
            embeddings: float `(queries, 384)`, vectors of any length.
            k: int, from 1 to the number of prompts.

        Returns:
            prompts: list of k prompts per query, the most similar first.
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
    """Embeds prompts, or reads their embeddings from a cache.

    The name of the cached file depends on the prompts, their order and the embedder's
    signature, so that another bank never reads it. The file is written atomically.

    Args:
        prompts: the prompts; repeated ones are dropped.
        embedder: from `metrics.prompt_embedder.load_embedder`.
        cache: folder of cached embeddings, created if absent.

    Raises:
        ValueError: if there are no prompts.
    """
    prompts = list(dict.fromkeys(prompts))
    if not prompts:
        raise ValueError("prompts must hold at least one text. Received: none")
    digest = hashlib.blake2b(
        prompt_embedder.signature(embedder).encode(), digest_size=16
    )
    for prompt in prompts:
        # With its length, so that different lists never give the same bytes.
        encoded = prompt.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    path = pathlib.Path(cache) / f"bank-{digest.hexdigest()}.npy"
    embeddings = _read_cached(path, len(prompts))
    if embeddings is None:
        _write_cached(path, prompts, embedder)
        embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    return PromptBank(prompts, embeddings)


def training_bank(folder: str | pathlib.Path) -> PromptBank:
    """Builds a bank of the original prompts of the training split.

    Their embeddings are those that `data.targets` stores beside the shards.

    Args:
        folder: folder of shards.

    Raises:
        FileNotFoundError: if the folder holds no training shards.
    """
    rows: dict[str, np.ndarray] = {}
    paths = targets.target_shards(folder, "train")
    shards = records.list_shards(folder, "train")
    for shard, path in zip(
        tqdm.tqdm(shards, "reading prompts", delay=2), paths, strict=True
    ):
        vectors = tf.data.TFRecordDataset(path).map(targets.parse_target)
        vectors = without_tuning(vectors)
        for prompt, vector in zip(
            targets.read_prompts(shard), vectors.as_numpy_iterator(), strict=True
        ):
            rows.setdefault(prompt, vector)
    return PromptBank(list(rows), np.stack(list(rows.values())))


def read_bank(path: str | pathlib.Path) -> list[str]:
    """Reads the distinct prompts of a text file, one per line; skips empty lines.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not UTF-8, or has no prompts.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"the bank must be a text file. Received: {path}")
    try:
        # Not splitlines: U+2028 and the like may occur inside a prompt.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"the bank must be UTF-8 text. Received: {path}") from error
    prompts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not prompts:
        raise ValueError(f"the bank must hold one prompt per line. Received: {path}")
    return prompts


def _read_cached(path, count):
    try:
        embeddings = map_array(path)
    except (OSError, ValueError):
        # Absent or damaged: it is written again.
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
        # Written while it is computed, because a million embeddings take 1.5 GB.
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
