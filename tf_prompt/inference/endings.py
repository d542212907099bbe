"""Looks up the endings of prompts separately from their beginnings.

A prompt such as "dog by monet" is cut into a beginning and an ending. Looking up whole
prompts cannot find a combination that is not in the training split; looking up both
parts can.
"""

import pathlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import tensorflow as tf

from tf_prompt.files import replacing
from tf_prompt.inference.consensus import expected_bleu

# Endings compared with each other by BLEU.
MAX_CANDIDATES = 24


def cut(prompt: str, separator: str) -> tuple[str, str]:
    """Cuts a prompt after the first separator that has words on both sides.

    Args:
        prompt: words joined by spaces.
        separator: a word.

    Returns:
        The beginning, including the separator, and the ending; the whole prompt and
        "" if there is no such separator.
    """
    before, found, after = prompt.partition(f" {separator} ")
    return (f"{before} {separator}", after) if found else (prompt, "")


def number_beginnings(beginnings: Sequence[str], known: Sequence[str]) -> list[int]:
    """Returns the index of each beginning among the known; `len(known)` for others."""
    indices = {beginning: index for index, beginning in enumerate(known)}
    return [indices.get(beginning, len(known)) for beginning in beginnings]


@dataclass(frozen=True)
class Endings:
    """Endings of training prompts, with a linear classifier of images.

    Args:
        beginnings: list of frequent beginnings, as `cut` gives them.
        means: float32 `(beginnings + 1, depth)`, mean features of the images of each
            beginning; the last row is the mean of all images.
        texts: list of endings.
        rows: float32 `(endings, depth)`, weights of the classifier. Its inputs are the
            features of an image minus the mean features of the image's beginning.
    """

    beginnings: list[str]
    means: np.ndarray
    texts: list[str]
    rows: np.ndarray

    def number(self, beginnings: Sequence[str]) -> list[int]:
        """Returns the row of `means` for each beginning."""
        return number_beginnings(beginnings, self.beginnings)

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the endings into an `.npz` file, which is replaced atomically."""
        with replacing(pathlib.Path(path), keep_ending=True) as temporary:
            np.savez(
                temporary,
                beginnings=np.array(self.beginnings, str),
                means=self.means,
                texts=np.array(self.texts, str),
                rows=self.rows,
            )

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Endings":
        """Loads endings that `save` wrote.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        try:
            # NumPy does not close a damaged file that it opened itself.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                parts = {part.name: stored[part.name] for part in fields(cls)}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(
                "a run with a separator must have a whole file of endings. "
                f"Received: {path}"
            ) from error
        for name in ("beginnings", "texts"):
            parts[name] = parts[name].tolist()
        return cls(**parts)


class EndingWriter(tf.Module):
    """Writes prompts with a given beginning and the ending that fits the image.

    Args:
        endings: endings of the training split.
    """

    def __init__(self, endings: Endings):
        super().__init__()
        self._means = tf.Variable(endings.means, trainable=False)
        self._rows = tf.Variable(endings.rows, trainable=False)
        self._texts = tf.constant(endings.texts)
        self._count = min(MAX_CANDIDATES, len(endings.texts))

    def __call__(self, features, weights, numbers, beginnings):
        """Writes candidate prompts and scores them.

        Args:
            features: float32 `(batch, depth)`, rows of unit length.
            weights: float32 `(batch, neighbours)`, each row summing to 1.
            numbers: int32 `(batch, neighbours)`, rows of `Endings.means`.
            beginnings: string `(batch,)`.

        Returns:
            prompts: string `(batch, candidates)`, the likeliest first.
            scores: float32 `(batch, candidates)`, the expected BLEU of each.
        """
        # Subtracts what the beginning explains of the features.
        expected = tf.einsum("bk,bkd->bd", weights, tf.gather(self._means, numbers))
        fit = tf.matmul(features - expected, self._rows, transpose_b=True)
        # The scale differs between data sets and images.
        fit /= tf.maximum(tf.math.reduce_std(fit, axis=1, keepdims=True), 1e-12)
        best, found = tf.math.top_k(fit, self._count)
        # Strings are not broadcast.
        repeated = tf.tile(beginnings[:, None], [1, self._count])
        prompts = tf.strings.join([repeated, tf.gather(self._texts, found)], " ")
        return prompts, expected_bleu(prompts, tf.nn.softmax(best, axis=1))
