"""Applies models to image files in batches; bad files do not affect the others."""

import collections
import concurrent.futures
import math
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


def predict(
    writer: Callable,
    paths: Sequence[pathlib.Path],
    batch_size: int,
    reads_embedded: bool = False,
) -> Iterator[dict]:
    """Writes the prompts of image files.

    If the writer allows it, two batches are processed at once: while the words of one
    are written, the files of the next are read and encoded. One more waits, so that
    memory does not grow with the number of files.

    Args:
        writer: function from encoded images to a dict of `prompt` and `score`, such
            as a `PromptModel`; called in two threads if its attribute
            `is_thread_safe` is true.
        paths: the files.
        batch_size: images written about at once.
        reads_embedded: whether results have what files say of their making.

    Yields:
        In the order of `paths`: `{"path", "prompt", "score"}`, score being the
        mean log-probability of the words, or `{"path", "error"}`; with `embedded`, see
        `image_bytes.embedded_field`, where it is wanted and the file says it.
    """
    batches = [paths[i : i + batch_size] for i in range(0, len(paths), batch_size)]
    num_threads = 2 if getattr(writer, "is_thread_safe", False) else 1
    pool = concurrent.futures.ThreadPoolExecutor(num_threads)
    under_way = collections.deque()
    bar = tqdm.tqdm(total=len(paths), unit="image", disable=len(batches) < 2)
    try:
        while batches or under_way:
            while batches and len(under_way) <= num_threads:
                batch = batches.pop(0)
                under_way.append(
                    pool.submit(_predict_batch, writer, batch, reads_embedded)
                )
            results = under_way.popleft().result()
            yield from results
            bar.update(len(results))
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()


def _predict_batch(writer, paths, reads_embedded) -> list[dict]:
    errors, image_bytes = {}, {}
    for path in paths:
        try:
            image_bytes[path] = read_image(path)
        except OSError as error:
            errors[path] = error.strerror or str(error)
    written = _write(writer, image_bytes, errors)
    rows = []
    for path in paths:
        if path in errors:
            rows.append({"path": printable(path), "error": errors[path]})
            continue
        row = {"path": printable(path), **written[path]}
        # Behind the model, which sees pixels only.
        rows.append(row | embedded_field(image_bytes[path]) if reads_embedded else row)
    return rows


def _write(writer, image_bytes, errors) -> dict:
    """Prompt and score of each file; those that are no images become errors."""
    if not image_bytes:
        return {}
    try:
        written = writer(list(image_bytes.values()))
    except tf.errors.InvalidArgumentError:
        # A captioner gives NaN for what is no image; other writers may raise.
        # Decoding each file twice to find a bad one beforehand would cost all.
        images_only = {
            p: data for p, data in image_bytes.items() if images.is_image(data)
        }
        if len(images_only) == len(image_bytes):
            raise
        for path in image_bytes.keys() - images_only.keys():
            errors[path] = image_faults.explain(image_bytes[path], path)
        return _write(writer, images_only, errors)
    reasons = written.get("error", [None] * len(image_bytes))
    columns = (written["prompt"], written["score"], reasons)
    rows = {}
    for path, prompt, score, reason in zip(image_bytes, *columns, strict=True):
        rows[path] = {"prompt": prompt.decode(), "score": float(score)}
        # What an export says of a file that is no image.
        if math.isnan(score):
            errors[path] = reason or image_faults.explain(image_bytes[path], path)
    return rows


def embed_images(
    models: Sequence[PromptModel],
    weights: Sequence[float],
    paths: dict[str, pathlib.Path],
    batch_size: int,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Predicts embeddings: the weighted mean of several models' normalised ones.

    Args:
        models: at least one model.
        weights: one weight >= 0 per model; only their ratios matter.
        paths: dict from image id to file.
        batch_size: images per batch.

    Yields:
        Image ids, and float32 `(images, 384)`, rows of unit length.

    Raises:
        ValueError: if a file is not a readable image, or a model returns embeddings
            that are not finite; the message names it.
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

    Returns:
        float32 `(images, 384)`.

    Raises:
        ValueError: if they are not; the message names the first bad image.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers. Received: {embeddings.dtype}")
    # What float32 does not hold is told below.
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
    """Interrogates image files; a bad file costs nobody else.

    Args:
        interrogator: the interrogator.
        paths: the files.
        batch_size: images at once.
        captioner: function of `prediction`, from a list of bytes to a dict of
            `prompt`; it sees the files at its own size.
        reads_embedded: as in `predict`.

    Yields:
        In the order of `paths`: dicts of `path` and what `Interrogated` has, as JSON
        content, or of `path` and `error`; `embedded` as in `predict`.
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
    """Turns a result into JSON content."""
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
