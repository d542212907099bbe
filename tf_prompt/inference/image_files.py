"""Writes the prompts of image files in batches; bad files do not affect the others.

Imports no TensorFlow: a LiteRT file needs none.
"""

import collections
import concurrent.futures
import math
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import tqdm

from tf_prompt.data import image_faults
from tf_prompt.inference.image_bytes import embedded_field, printable, read_image


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
        batch_size: images per batch.
        reads_embedded: whether to read the generation metadata of the files.

    Yields:
        In the order of `paths`: `{"path", "prompt", "score"}`, with the writer's score,
        or `{"path", "error"}`; also `embedded`, see `image_bytes.embedded_field`, if
        `reads_embedded` is true and the file has such metadata.
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
    written = write_prompts(writer, image_bytes, errors)
    rows = []
    for path in paths:
        if path in errors:
            rows.append({"path": printable(path), "error": errors[path]})
            continue
        row = {"path": printable(path), **written[path]}
        # After the model's fields; the model itself sees pixels only.
        rows.append(row | embedded_field(image_bytes[path]) if reads_embedded else row)
    return rows


def write_prompts(
    writer: Callable,
    image_bytes: Mapping[pathlib.PurePath, bytes],
    errors: dict[pathlib.PurePath, str],
) -> dict[pathlib.PurePath, dict]:
    """Writes the prompts of a batch; files that are not images do not affect others.

    Args:
        writer: as in `predict`.
        image_bytes: content of each file.
        errors: dict to which the reason is added for each file without a prompt.

    Returns:
        dict from file to `{"prompt", "score"}`; ignore entries of files in `errors`.

    Raises:
        tf.errors.InvalidArgumentError: if the writer fails although all are images.
    """
    if not image_bytes:
        return {}
    try:
        written = writer(list(image_bytes.values()))
    except _refusals():
        from tf_prompt.data import images

        # A captioner returns NaN for a file that is not an image; other writers may
        # raise. Checking all files beforehand would decode every image twice.
        images_only = {
            p: data for p, data in image_bytes.items() if images.is_image(data)
        }
        if len(images_only) == len(image_bytes):
            raise
        for path in image_bytes.keys() - images_only.keys():
            errors[path] = image_faults.explain(image_bytes[path], path)
        return write_prompts(writer, images_only, errors)
    reasons = written.get("error", [None] * len(image_bytes))
    columns = (written["prompt"], written["score"], reasons)
    rows = {}
    for path, prompt, score, reason in zip(image_bytes, *columns, strict=True):
        rows[path] = {"prompt": prompt.decode(), "score": float(score)}
        # The score that exports return for a file that is not an image.
        if math.isnan(score):
            errors[path] = reason or image_faults.explain(image_bytes[path], path)
    return rows


def _refusals() -> tuple[type[Exception], ...]:
    """Exceptions that a writer may raise if one of its images is broken."""
    tensorflow = sys.modules.get("tensorflow")
    return () if tensorflow is None else (tensorflow.errors.InvalidArgumentError,)
