"""From image files to prompts, in batches; a bad file costs nobody else."""

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
import tqdm

from tf_prompt import images, serving
from tf_prompt.config import DecodingConfig

# A writer decides the size; this one only tells whether a file is an image.
_CHECK_SIZE = 32


def load_saved_model(path: str, options: DecodingConfig) -> Callable:
    """Loads a SavedModel as a function of encoded images.

    Args:
        path: folder of a version, which writes as it was exported to.
        options: must be the default ones.

    Returns:
        A function from a list of bytes to a dict of `prompt` and `score`.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: for options that a SavedModel cannot follow.
    """
    if options != DecodingConfig():
        raise ValueError(
            "a SavedModel writes greedily; other ways of decoding need --run-dir. "
            f"Received: saved_model={path} and {options}"
        )
    return serving.SavedPromptWriter(path)


def build_writer(model, vocabulary, options: DecodingConfig) -> Callable:
    """Makes a captioner a function of encoded images.

    Args:
        model: a `Captioner`.
        vocabulary: token of each id.
        options: how to write.

    Returns:
        As `load_saved_model`.
    """
    writer = serving.PromptWriter(model, vocabulary, options)

    def serve(image_bytes):
        written = writer.serve(tf.constant(image_bytes))
        return {name: value.numpy() for name, value in written.items()}

    return serve


def predict(
    writer: Callable, paths: Sequence[pathlib.Path], batch_size: int
) -> Iterator[dict]:
    """Writes the prompts of image files.

    Args:
        writer: of `load_saved_model` or `build_writer`.
        paths: the files.
        batch_size: images written about at once.

    Yields:
        In the order of `paths`: `{"path", "prompt", "score"}`, score being the
        mean log-probability of the words, or `{"path", "error"}`.
    """
    hidden = len(paths) <= batch_size
    with tqdm.tqdm(total=len(paths), unit="image", disable=hidden) as bar:
        for start in range(0, len(paths), batch_size):
            batch = paths[start : start + batch_size]
            yield from _predict_batch(writer, batch)
            bar.update(len(batch))


def _predict_batch(writer, paths):
    results, image_bytes = {}, {}
    for path in paths:
        try:
            data = path.read_bytes()
            images.decode_image(data, _CHECK_SIZE)
            image_bytes[path] = data
        except OSError as error:
            results[path] = {"error": error.strerror or str(error)}
        except tf.errors.InvalidArgumentError:
            results[path] = {"error": f"not an image ({' '.join(images.SUFFIXES)})"}
    if image_bytes:
        written = writer(list(image_bytes.values()))
        for path, prompt, score in zip(
            image_bytes, written["prompt"], written["score"], strict=True
        ):
            results[path] = {"prompt": prompt.decode(), "score": float(score)}
    for path in paths:
        yield {"path": os.fspath(path), **results[path]}
