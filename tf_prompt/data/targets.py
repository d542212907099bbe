"""MiniLM embeddings of a data set's prompts, computed once and stored beside it."""

import functools
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import cluster, records
from tf_prompt.data.graphs import as_written, without_tuning
from tf_prompt.files import read_entries, replacing, write_json
from tf_prompt.metrics import prompt_embedder

# The text to embed: the original prompt, as in the competition, or the normalised
# words that a captioner learns.
TEXT_RULES = ("prompt", "words")
INDEX = "embeddings.json"


def target_shards(
    folder: str | pathlib.Path,
    split: str,
    text_rule: str = "prompt",
    embedder: prompt_embedder.PromptEmbedder | None = None,
) -> list[str]:
    """Returns the files with a split's embeddings, computing those that are missing.

    They are in `FOLDER/embeddings/KEY`, one file per shard with one record of 384
    float32 numbers per image, in the shard's order. KEY depends on the embedding
    model and the text rule. Files are written atomically, and computed again if their
    shard has changed. If `TF_PROMPT_SCHEDULER` names a Dask scheduler, its workers
    compute them.

    Args:
        folder: folder of shards.
        split: one of `split.SPLITS`.
        text_rule: one of `TEXT_RULES`.
        embedder: the embedder; None loads the default if needed.

    Returns:
        list of paths, in the order of `records.list_shards`.

    Raises:
        FileNotFoundError: if the split has no shards.
        ValueError: for an unknown rule, or if the embedder cannot be loaded.
    """
    if text_rule not in TEXT_RULES:
        raise ValueError(
            f"text_rule must be one of {', '.join(TEXT_RULES)}. Received: {text_rule}"
        )
    shards = records.list_shards(folder, split)
    embedder = embedder or prompt_embedder.load_embedder()
    signature = {
        "embedder": prompt_embedder.signature(embedder),
        "text_rule": text_rule,
    }
    digest = hashlib.blake2b(repr(sorted(signature.items())).encode(), digest_size=6)
    output = pathlib.Path(folder) / "embeddings" / digest.hexdigest()
    output.mkdir(parents=True, exist_ok=True)
    index = _read_index(output)
    missing = [shard for shard in shards if not _is_done(output, shard, index)]
    for shard, num_records in tqdm.tqdm(
        _embed_shards(missing, output.resolve(), text_rule, embedder),
        f"embedding prompts of {split}",
        len(missing),
        unit="shard",
        disable=not missing,
    ):
        # Read it again, because another process may have written other shards.
        index = _read_index(output)
        index["shards"][_name(shard)] = [_size(shard), num_records]
        write_json(output / INDEX, {**signature, **index})
    return [os.fspath(output / _name(shard)) for shard in shards]


def count_targets(paths: Sequence[str]) -> int:
    """Counts the images in files that `target_shards` returned."""
    index = _read_index(pathlib.Path(paths[0]).parent)
    return sum(index["shards"][_name(path)][1] for path in paths)


def read_prompts(shard: str, text_rule: str = "prompt") -> list[str]:
    """Reads the prompts of a shard in order.

    Args:
        shard: the shard.
        text_rule: `prompt` for the original prompts, `words` for normalised ones.
    """
    prompts: list[str] = []
    feature = {
        "prompt": tf.io.FixedLenFeature((), tf.string),
        "words": tf.io.RaggedFeature(tf.string),
    }
    with records.naming(shard):
        for batch in without_tuning(tf.data.TFRecordDataset(shard).batch(1024)):
            parsed = tf.io.parse_example(batch, feature)
            texts = parsed["prompt"]
            if text_rule == "words":
                texts = tf.strings.reduce_join(parsed["words"], axis=-1, separator=" ")
            prompts.extend(text.decode(errors="replace") for text in texts.numpy())
    return prompts


def read_split(folder: str | os.PathLike, split: str) -> Iterator[str]:
    """Reads the original prompts of a split, shard by shard.

    Args:
        folder: folder of shards.
        split: one of `split.SPLITS`.

    Raises:
        FileNotFoundError: if the split has no shards.
        ValueError: if a shard is damaged; the message names it.
    """
    shards = records.list_shards(folder, split)
    for shard in tqdm.tqdm(shards, "reading prompts", unit="shard", leave=False):
        yield from read_prompts(shard)


@as_written
def parse_target(serialised):
    """Parses one embedding inside a tf.data pipeline, float32 `(384,)`."""
    numbers = tf.io.decode_raw(serialised, tf.float32)
    return tf.ensure_shape(numbers, (prompt_embedder.EMBEDDING_DIM,))


def _embed_shards(shards, output, text_rule, embedder) -> Iterator[tuple[str, int]]:
    scheduler = cluster.address()
    if not (shards and scheduler):
        for shard in shards:
            yield shard, _embed_shard(shard, output, text_rule, embedder)
        return
    signature = prompt_embedder.signature(embedder)
    embed = functools.partial(
        _embed_on_worker, output=output, text_rule=text_rule, signature=signature
    )
    yield from cluster.run(embed, map(os.path.abspath, shards), scheduler)


def _embed_on_worker(shard, output, text_rule, signature) -> int:
    embedder = _load_once()
    if (found := prompt_embedder.signature(embedder)) != signature:
        raise ValueError(
            f"workers must have the embedder of this machine, {signature}. "
            f"Received: {found}"
        )
    return _embed_shard(shard, output, text_rule, embedder)


@functools.cache
def _load_once():
    return prompt_embedder.load_embedder()


def _embed_shard(shard, output, text_rule, embedder) -> int:
    vectors = prompt_embedder.embed(read_prompts(shard, text_rule), embedder)
    with (
        replacing(output / _name(shard)) as temporary,
        tf.io.TFRecordWriter(os.fspath(temporary)) as writer,
    ):
        for vector in vectors.astype(np.float32):
            writer.write(vector.tobytes())
    return len(vectors)


def _read_index(output) -> dict:
    path = output / INDEX
    return {"shards": read_entries(path, "shards") if path.is_file() else {}}


def _is_done(output, shard, index) -> bool:
    known = index["shards"].get(_name(shard))
    # The size of the shard and its number of records.
    same = isinstance(known, list) and len(known) == 2 and known[0] == _size(shard)
    return same and _path_is(output, shard)


def _path_is(output, shard) -> bool:
    return (output / _name(shard)).is_file()


def _name(shard) -> str:
    return pathlib.Path(shard).name


def _size(shard) -> int:
    return pathlib.Path(shard).stat().st_size
