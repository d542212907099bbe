"""Retrieval: writes the prompt that agrees most with those of the nearest images."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from tf_prompt.data.vectors import map_array
from tf_prompt.files import replacing
from tf_prompt.inference.consensus import expected_bleu
from tf_prompt.inference.endings import Endings, EndingWriter, cut
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.table import Table
from tf_prompt.models.retriever import Retriever

# In a run's folder: a vector and a prompt for each training image.
FOLDER, _ROWS, _PROMPTS = "retrieval", "rows.npy", "prompts.txt"
# Only for a retriever with a separator.
_ENDINGS = "endings.npz"


@dataclasses.dataclass(frozen=True)
class RetrievalIndex:
    """The index of a retriever.

    Args:
        rows: float16 `(images, depth)`, vectors of the training images.
        prompts: list of their prompts, words joined by spaces.
        endings: endings of the prompts, for a retriever with a separator; else None.
    """

    rows: np.ndarray
    prompts: list[str]
    endings: Endings | None = None

    def save(self, run_dir: str | pathlib.Path) -> None:
        """Writes the index into a run's folder; each file is replaced atomically."""
        folder = pathlib.Path(run_dir) / FOLDER
        folder.mkdir(exist_ok=True)
        with replacing(folder / _ROWS, keep_ending=True) as temporary:
            np.save(temporary, self.rows, allow_pickle=False)
        with replacing(folder / _PROMPTS) as temporary:
            temporary.write_text("\n".join(self.prompts), encoding="utf-8")
        if self.endings is not None:
            self.endings.save(folder / _ENDINGS)

    @classmethod
    def load(cls, run_dir: str | pathlib.Path) -> "RetrievalIndex":
        """Loads an index that `save` wrote; the rows are memory-mapped.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if a file is damaged.
        """
        folder = pathlib.Path(run_dir) / FOLDER
        if not is_index(run_dir):
            raise FileNotFoundError(
                f"run_dir must hold the index {FOLDER}. Received: {run_dir}"
            )
        try:
            rows = map_array(folder / _ROWS)
            prompts = (folder / _PROMPTS).read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{FOLDER} must have whole files. Received: {folder}"
            ) from error
        if rows.ndim != 2 or len(rows) != len(prompts):
            raise ValueError(
                f"{FOLDER} must hold a prompt per row. Received: {rows.shape} and "
                f"{len(prompts)} in {folder}"
            )
        path = folder / _ENDINGS
        return cls(rows, prompts, Endings.load(path) if path.is_file() else None)


def is_index(run_dir: str | pathlib.Path) -> bool:
    """Whether a run's folder holds an index."""
    folder = pathlib.Path(run_dir) / FOLDER
    return all((folder / name).is_file() for name in (_ROWS, _PROMPTS))


class RetrievalModel(PromptModel):
    """Writes the prompt of one of the nearest training images.

    Their prompts are candidates with the probabilities `softmax(sharpness *
    similarity)`. The one with the highest expected sentence BLEU is written; this BLEU
    is its score. If it contains the network's separator, only its beginning is kept:
    then the endings of all training prompts are candidates, with the probabilities of
    a classifier.

    Args:
        network: a `Retriever`.
        index: the index of its training images.
        name: see `PromptModel`.

    Raises:
        ValueError: if the index was built with another network, or has no endings
            although the network has a separator.
    """

    score_name = "expected BLEU, 0-1"
    predicts_embeddings = False
    embeds = False

    def __init__(self, network: Retriever, index: RetrievalIndex, name: str):
        width = network.vector_dim
        if index.rows.shape[1] != width:
            raise ValueError(
                f"{FOLDER} must hold rows of {width} numbers, as the model gives. "
                f"Received: {index.rows.shape[1]}"
            )
        self._network = network
        self._count = min(network.num_neighbours, len(index.prompts))
        self._write_endings, values = None, ()
        if network.separator:
            self._write_endings, values = _open_endings(index, network.separator)
        self._table = Table(index.rows, index.prompts, *values)
        super().__init__(name, [network.image_size])

    def require_exportable(self) -> None:
        """See `PromptModel`."""
        self._table.require_exportable()

    def endpoints(self):
        """See `PromptModel`; there is no other signature."""
        return {}

    def write_best(self, image_bytes, count):
        """See `PromptModel`; candidates are ranked by expected BLEU."""
        images = self.open(image_bytes)[self.image_size]
        rows = []
        for prompts, scores in zip(*self._weigh_images(images), strict=True):
            best: dict[str, float] = {}
            for i in np.argsort(-scores.numpy(), kind="stable"):
                best.setdefault(prompts[i].numpy().decode(), float(scores[i]))
            rows.append(list(best.items())[:count])
        return rows

    def _describe(self, images):
        prompts, scores = self._weigh_images(images[self.image_size])
        # The first of ties, which is the nearest.
        best = tf.argmax(scores, axis=1)
        return {
            "prompt": tf.gather(prompts, best, batch_dims=1),
            "score": tf.gather(scores, best, batch_dims=1),
        }

    def _weigh_images(self, images):
        return self.weigh(self._network.look(images))

    def weigh(self, seen):
        """Finds the candidates for images, and their expected BLEU.

        Args:
            seen: float32 `(batch, depth + style_dim)`, see `Retriever.look`.

        Returns:
            prompts: string `(batch, candidates)`, the likeliest first.
            scores: float32 `(batch, candidates)`.
        """
        network = self._network
        found = self._table.nearest(network.extend(seen), self._count)
        cosines, prompts, *parts = found[1:]
        similarity = network.squared_length * cosines
        weights = tf.nn.softmax(network.sharpness * similarity, axis=1)
        scores = expected_bleu(prompts, weights)
        if self._write_endings is None:
            return prompts, scores
        beginnings, numbers = parts
        best = tf.argmax(scores, axis=1)
        beginning = tf.gather(beginnings, best, batch_dims=1)
        numbers = tf.cast(numbers, tf.int32)
        features = seen[:, : network.depth]
        written = self._write_endings(features, weights, numbers, beginning)
        whole = _take_best(prompts, scores, tf.shape(written[0])[1])
        is_whole = (beginning == "")[:, None]
        pairs = zip(whole, written, strict=True)
        return tuple(tf.where(is_whole, *pair) for pair in pairs)

    def _features(self, images):
        return self._network.extract_features(images[self.image_size])


def _open_endings(index: RetrievalIndex, separator: str):
    """Returns the writer of endings, and two values for each training image.

    They are the beginning of its prompt, "" if it has no ending, and the beginning's
    number.
    """
    if index.endings is None:
        raise ValueError(
            f"{FOLDER} must hold endings for the separator {separator!r}. "
            "Received: none"
        )
    pairs = [cut(prompt, separator) for prompt in index.prompts]
    beginnings = [beginning if ending else "" for beginning, ending in pairs]
    numbers = np.array(index.endings.number(beginnings), np.float32)
    return EndingWriter(index.endings), (beginnings, numbers)


def _take_best(prompts, scores, count):
    """Sorts candidates by score, and makes them `count`, repeating the last."""
    order = tf.argsort(scores, axis=1, direction="DESCENDING", stable=True)
    place = tf.minimum(tf.range(count), tf.shape(scores)[1] - 1)
    order = tf.gather(order, place, axis=1)
    return (tf.gather(values, order, batch_dims=1) for values in (prompts, scores))
