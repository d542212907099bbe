"""From image files to prompt embeddings, in batches, by one model or several."""

import concurrent.futures
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt import ensembling, images
from tf_prompt.metrics import cosine


def embed_images(
    members: Sequence,
    weights: Sequence[float],
    paths: dict[str, pathlib.Path],
    batch_size: int,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Predicts embeddings: the weighted mean of all members', each normalised.

    Args:
        members: what `members.load_member` gave, at least one; an ensemble has
            `members`, and `join` for their embeddings, `(batch, members, 384)`.
        weights: not negative, one a member; only their ratios matter.
        paths: the file of each image id.
        batch_size: images at once.

    Yields:
        Image ids, and float32 `(images, 384)` of unit length.

    Raises:
        ValueError: if a file cannot be read as an image, or a member gives
            something else than finite embeddings; names it.
    """
    ids = list(paths)
    sizes = set().union(*map(_sizes_of, members))
    hidden = len(ids) <= batch_size
    with (
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm.tqdm(total=len(ids), unit="image", disable=hidden) as bar,
    ):
        for start in range(0, len(ids), batch_size):
            part = ids[start : start + batch_size]
            decoded = list(pool.map(lambda i: _decode(paths[i], sizes), part))
            found = []
            for member in members:
                name = f"embeddings of {member.name}"
                embeddings = _embed(member, decoded)
                found.append(check_embeddings(embeddings, part, name))
            yield part, ensembling.combine(np.stack(found, axis=1), weights)
            bar.update(len(part))


def _sizes_of(member) -> set[int]:
    if hasattr(member, "members"):
        return set().union(*map(_sizes_of, member.members))
    return {member.image_size}


def _embed(member, decoded) -> np.ndarray:
    # Each model of an ensemble gets the picture in the size it was trained on.
    if hasattr(member, "members"):
        parts = [_embed(part, decoded) for part in member.members]
        return member.join(np.stack(parts, axis=1))
    return member.embed(np.stack([image[member.image_size] for image in decoded]))


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
            f"every file must be an image ({' '.join(images.SUFFIXES)}). "
            f"Received: {path}"
        ) from error


def check_embeddings(embeddings, image_ids: Sequence[str], name: str) -> np.ndarray:
    """Checks that embeddings are finite, not zero, and 384 numbers an image.

    Returns:
        float32 `(images, 384)`.

    Raises:
        ValueError: if they are not; names them and the first bad image.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers. Received: {embeddings.dtype}")
    # What float32 does not hold is told below.
    with np.errstate(over="ignore", invalid="ignore"):
        embeddings = embeddings.astype(np.float32, copy=False)
    if embeddings.shape != (len(image_ids), cosine.EMBEDDING_DIM):
        raise ValueError(
            f"{name} must be {(len(image_ids), cosine.EMBEDDING_DIM)}. "
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
