"""From image files to prompts, in batches; a bad file costs nobody else."""

import collections
import concurrent.futures
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
import tqdm

from tf_prompt import images, saved_model
from tf_prompt.decoding_config import DecodingConfig

# A writer decides the size; this one only tells whether a file is an image.
_CHECK_SIZE = 32
# More than the pixels that are decoded have in any format.
MAX_BYTES = 2**28


def load_saved_model(path: str, options: DecodingConfig) -> Callable:
    """Loads a SavedModel as a function of encoded images.

    Args:
        path: folder of a version, which writes as it was exported to.
        options: must be the default ones.

    Returns:
        A function from a list of bytes to a dict of `prompt` and `score`; of a file
        that is no image the score is NaN.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: for options that a SavedModel cannot follow.
    """
    if options != DecodingConfig():
        raise ValueError(
            "a SavedModel writes greedily; other ways of decoding need --run-dir. "
            f"Received: saved_model={path} and {options}"
        )
    return saved_model.SavedPromptWriter(path)


def build_writer(model, vocabulary, options: DecodingConfig) -> Callable:
    """Makes a captioner a function of encoded images.

    Args:
        model: a `Captioner`.
        vocabulary: token of each id.
        options: how to write.

    Returns:
        As `load_saved_model`.
    """
    # Here, because a SavedModel needs no Keras, whose import takes seconds.
    from tf_prompt import rerank

    writer = rerank.build_writer(model, vocabulary, options)

    def serve(image_bytes):
        written = writer.serve(tf.constant(image_bytes))
        return {name: value.numpy() for name, value in written.items()}

    # Keras, which embeds the candidates of reranking, promises nothing to threads.
    serve.is_thread_safe = not options.rerank
    return serve


def predict(
    writer: Callable, paths: Sequence[pathlib.Path], batch_size: int
) -> Iterator[dict]:
    """Writes the prompts of image files.

    Two batches are under way at once, where the writer allows it: while words of
    one are written, files of the next are read and its pictures looked at. One more
    waits, so that memory does not grow with the number of files.

    Args:
        writer: of `load_saved_model` or `build_writer`, or another such function;
            called in two threads if its attribute `is_thread_safe` is true.
        paths: the files.
        batch_size: images written about at once.

    Yields:
        In the order of `paths`: `{"path", "prompt", "score"}`, score being the
        mean log-probability of the words, or `{"path", "error"}`.
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
                under_way.append(pool.submit(_predict_batch, writer, batch))
            results = under_way.popleft().result()
            yield from results
            bar.update(len(results))
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()


def _predict_batch(writer, paths) -> list[dict]:
    errors, image_bytes = {}, {}
    for path in paths:
        try:
            image_bytes[path] = read_image(path)
        except OSError as error:
            errors[path] = error.strerror or str(error)
    written = _write(writer, image_bytes, errors)
    return [
        {"path": printable(path), "error": errors[path]}
        if path in errors
        else {"path": printable(path), **written[path]}
        for path in paths
    ]


def read_image(path: pathlib.Path) -> bytes:
    """Reads an image file.

    Raises:
        OSError: also for a file of more than `MAX_BYTES`, and for one whose name no
            result can show.
    """
    if printable(path) != os.fspath(path):
        raise OSError("a name that is not UTF-8: give the file another")
    if path.stat().st_size > MAX_BYTES:
        raise OSError(f"more than {MAX_BYTES // 2**20} MB")
    return path.read_bytes()


def printable(path: pathlib.Path) -> str:
    """Gives a path as text; of bytes in it that are no UTF-8, their numbers."""
    return os.fspath(path).encode(errors="backslashreplace").decode()


def _write(writer, image_bytes, errors) -> dict:
    """Prompt and score of each file; those that are no images become errors."""
    if not image_bytes:
        return {}
    try:
        written = writer(list(image_bytes.values()))
    except tf.errors.InvalidArgumentError:
        # A captioner gives NaN for what is no image; other writers may raise.
        # Decoding each file twice to find a bad one beforehand would cost all.
        images_only = {p: data for p, data in image_bytes.items() if _is_image(data)}
        if len(images_only) == len(image_bytes):
            raise
        for path in image_bytes.keys() - images_only.keys():
            errors[path] = _why_not(path)
        return _write(writer, images_only, errors)
    reasons = written.get("error", [None] * len(image_bytes))
    columns = (written["prompt"], written["score"], reasons)
    rows = {}
    for path, prompt, score, reason in zip(image_bytes, *columns, strict=True):
        rows[path] = {"prompt": prompt.decode(), "score": float(score)}
        # What an export says of a file that is no image.
        if math.isnan(score):
            errors[path] = reason or _why_not(path)
    return rows


def _why_not(path) -> str:
    if path.suffix.lower() in images.FOREIGN_SUFFIXES:
        kind = path.suffix[1:].upper()
        return f"{kind} cannot be read: convert it to PNG or JPEG first"
    return f"not an image ({' '.join(images.SUFFIXES)})"


def _is_image(data: bytes) -> bool:
    try:
        images.decode_image(data, _CHECK_SIZE)
    except tf.errors.InvalidArgumentError:
        return False
    return True
