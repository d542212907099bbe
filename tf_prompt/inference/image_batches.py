"""Applies embedding models and interrogators to image files in batches."""

import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import image_faults, images, vectors
from tf_prompt.inference.image_bytes import embedded_field, printable, read_image
from tf_prompt.inference.model import PromptModel
from tf_prompt.interrogation.interrogator import Interrogated, Interrogator
from tf_prompt.metrics import prompt_embedder


def embed_images(
    models: Sequence[PromptModel],
    weights: Sequence[float],
    paths: dict[str, pathlib.Path],
    batch_size: int,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Predicts embeddings, the weighted mean of those of several models.

    Args:
        models: at least one model.
        weights: one weight >= 0 per model; only their ratios matter.
        paths: dict from image id to file.
        batch_size: images per batch.

    Yields:
        Image ids, and float32 `(images, 384)`, rows of unit length.

    Raises:
        ValueError: if a file is not a readable image, or a model returns an embedding
            that is not finite or is zero; the message names the image.
    """
    ids = list(paths)
    sizes = {size for model in models for size in model.sizes}
    hidden = len(ids) <= batch_size
    with (
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm.tqdm(total=len(ids), unit="image", disable=hidden) as bar,
    ):
        for start in range(0, len(ids), batch_size):
            part = ids[start : start + batch_size]
            decoded = list(pool.map(lambda i: _decode(paths[i], sizes), part))
            found = []
            for model in models:
                batch = {s: np.stack([d[s] for d in decoded]) for s in model.sizes}
                embeddings = model.describe(batch)["embedding"].numpy()
                name = f"embeddings of {model.name}"
                found.append(check_embeddings(embeddings, part, name))
            yield part, vectors.combine(np.stack(found, axis=1), weights)
            bar.update(len(part))


def _decode(path, sizes) -> dict[int, np.ndarray]:
    try:
        data = path.read_bytes()
        return {size: images.decode_image(data, size).numpy() for size in sizes}
    except OSError as error:
        raise ValueError(
            f"every image must be readable. Received: {path}: {error.strerror or error}"
        ) from error
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            "every file must be an image. "
            f"Received: {path}: {image_faults.explain(data, path)}"
        ) from error


def check_embeddings(embeddings, image_ids: Sequence[str], name: str) -> np.ndarray:
    """Checks that embeddings are finite, non-zero, and have 384 numbers per image.

    Args:
        embeddings: the embeddings, one row per image.
        image_ids: id of each image, for the message.
        name: what to call the embeddings in the message.

    Returns:
        float32 `(images, 384)`.

    Raises:
        ValueError: if they are not; the message names the first bad image.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers. Received: {embeddings.dtype}")
    # Values beyond float32 become infinite, and are reported below.
    with np.errstate(over="ignore", invalid="ignore"):
        embeddings = embeddings.astype(np.float32, copy=False)
    if embeddings.shape != (len(image_ids), prompt_embedder.EMBEDDING_DIM):
        raise ValueError(
            f"{name} must be {(len(image_ids), prompt_embedder.EMBEDDING_DIM)}. "
            f"Received: {embeddings.shape}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(embeddings, axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise ValueError(
            f"{name} must be finite and not zero. Received: {image_ids[bad[0]]}, "
            f"whose length is {lengths[bad[0]]}"
        )
    return embeddings


def interrogate_files(
    interrogator: Interrogator,
    paths: Sequence[pathlib.Path],
    batch_size: int,
    captioner: Callable | None = None,
    reads_embedded: bool = False,
) -> Iterator[dict]:
    """Interrogates image files; a bad file does not affect the others.

    Args:
        interrogator: the interrogator.
        paths: the files.
        batch_size: images per batch.
        captioner: function from a list of encoded images to a dict with their `prompt`,
            such as a `PromptModel`; it resizes the images itself.
        reads_embedded: as in `image_files.predict`.

    Yields:
        In the order of `paths`: dicts of `path` and the content of `to_json`, or of
        `path` and `error`; `embedded` as in `image_files.predict`.
    """
    hidden = len(paths) <= batch_size
    with tqdm.tqdm(total=len(paths), unit="image", disable=hidden) as bar:
        for start in range(0, len(paths), batch_size):
            batch = paths[start : start + batch_size]
            yield from _interrogate_batch(
                interrogator, batch, captioner, reads_embedded
            )
            bar.update(len(batch))


def _interrogate_batch(interrogator, paths, captioner, reads_embedded):
    found, decoded, encoded = {}, {}, {}
    for path in paths:
        try:
            data = read_image(path)
            decoded[path] = interrogator.decode(data)
            encoded[path] = data
        except OSError as error:
            found[path] = {"error": error.strerror or str(error)}
        except tf.errors.InvalidArgumentError:
            found[path] = {"error": image_faults.explain(data, path)}
    if decoded:
        captions = None
        if captioner is not None:
            written = captioner(list(encoded.values()))["prompt"]
            captions = [prompt.decode() for prompt in written]
        results = interrogator(np.stack(list(decoded.values())), captions)
        found.update(zip(decoded, map(to_json, results), strict=True))
    for path in paths:
        row = {"path": printable(path), **found[path]}
        if reads_embedded and path in encoded:
            row |= embedded_field(encoded[path])
        yield row


def to_json(result: Interrogated) -> dict:
    """Converts a result to JSON-compatible content, scores with six decimals."""
    content = {
        "prompt": result.prompt,
        "similarity": round(result.similarity, 6),
        "phrases": {
            table: [[phrase, round(score, 6)] for phrase, score in pairs]
            for table, pairs in result.phrases.items()
        },
    }
    if result.embedding is not None:
        content["embedding"] = result.embedding.tolist()
    return content
