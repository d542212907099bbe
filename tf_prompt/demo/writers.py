"""What each kind of model says of a picture, in one form."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_prompt.data import images, text
from tf_prompt.inference.attention import WordAttention, draw_words
from tf_prompt.inference.bank import PromptBank
from tf_prompt.inference.captioner import PromptWriter
from tf_prompt.inference.loading import predict_encoded
from tf_prompt.inference.model import Member
from tf_prompt.metrics import prompt_embedder

LOG_PROBABILITY, COSINE = "mean log-probability a word", "cosine"
SIMILARITY = "similarity by CLIP"
Scored = tuple[str, float]


@dataclasses.dataclass(frozen=True)
class Written:
    """What a model says of a picture.

    Attributes:
        prompts: texts and their scores, the best first.
        score_name: what the scores are.
        words: each word of the best prompt, and a WebP of where the model looked.
        neighbours: prompts of a bank near to the best prompt, and their cosines.
        bank_name: what the bank holds.
    """

    prompts: list[Scored]
    score_name: str
    words: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    neighbours: list[Scored] = dataclasses.field(default_factory=list)
    bank_name: str = "prompts"


class Writer(Protocol):
    """A model of the page.

    Attributes:
        name: for the visitor.
    """

    name: str

    def write(self, image_bytes: Sequence[bytes]) -> list[list[Scored]]:
        """Writes the prompts of encoded images.

        Args:
            image_bytes: sound images.

        Returns:
            Of each image its prompts and scores, the best first.
        """
        ...

    def describe(self, data: bytes) -> Written:
        """Says all it can of one encoded image."""
        ...


class Neighbours:
    """Finds prompts of a bank that mean nearly the same.

    Args:
        bank: the prompts.
        embedder: from `metrics.cosine.load_embedder`.
        count: int > 0. Prompts found; all if there are no more.
        name: what the bank holds, such as `training prompts`.
    """

    def __init__(self, bank: PromptBank, embedder, count: int, name: str):
        self.name = name
        self._bank, self._embedder = bank, embedder
        self._count = min(count, len(bank.prompts))

    def of_embeddings(self, embeddings) -> list[list[Scored]]:
        """Finds those near to embeddings, float `(queries, 384)`."""
        found, cosines = self._bank.nearest(embeddings, self._count)
        return [
            list(zip(prompts, map(float, row), strict=True))
            for prompts, row in zip(found, cosines, strict=True)
        ]

    def of_prompt(self, prompt: str) -> list[Scored]:
        """Finds those near to a text; none of an empty one."""
        if not prompt:
            return []
        return self.of_embeddings(prompt_embedder.embed([prompt], self._embedder))[0]


class CaptionerWriter:
    """A captioner's beams, its attention, and neighbours of its best prompt.

    Args:
        name: for the visitor.
        model: a `Captioner`.
        vocabulary: token of each id.
        num_prompts: int > 0. Beams.
        neighbours: of prompts; None shows none.
    """

    def __init__(self, name, model, vocabulary, num_prompts, neighbours=None):
        self.name = name
        self._model, self._writer = model, PromptWriter(model, vocabulary)
        self._num_prompts, self._neighbours = num_prompts, neighbours
        self._attention = WordAttention(model, vocabulary)
        size = model.image_size
        self._beams = tf.function(
            self._search,
            input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)],
        )

    def write(self, image_bytes) -> list[list[Scored]]:
        """See `Writer`; of equal texts the better is kept."""
        size = self._model.image_size
        pictures = tf.stack([images.decode_image(data, size) for data in image_bytes])
        found = (x.numpy() for x in self._beams(pictures))
        return [_first_of_each(*row) for row in zip(*found, strict=True)]

    def describe(self, data: bytes) -> Written:
        """See `Writer`."""
        prompts = self.write([data])[0]
        best = prompts[0][0]
        picture = images.decode_image(data, self._model.image_size)
        views = draw_words(self._attention, picture, best)
        words = list(zip(best.split(), views, strict=True))
        return _add_neighbours(
            Written(prompts, LOG_PROBABILITY, words), self._neighbours
        )

    def _search(self, pictures):
        return self._writer.search_beams(pictures, self._num_prompts)


def _first_of_each(prompts, scores) -> list[Scored]:
    found: dict[str, float] = {}
    for prompt, score in zip(prompts, scores, strict=True):
        # Fewer prompts than beams: the vocabulary is small, or all has ended.
        if not np.isnan(score):
            found.setdefault(prompt.decode(), float(score))
    return list(found.items())


class EmbeddingWriter:
    """A model of embeddings: the prompts of a bank that are nearest to its own.

    Of a model that writes prompts, such as an interrogator, it is that prompt, and
    the nearest are its neighbours.

    Args:
        name: for the visitor.
        member: predicts embeddings.
        neighbours: of embeddings.
    """

    def __init__(self, name: str, member: Member, neighbours: Neighbours):
        self.name = name
        self._member, self._neighbours = member, neighbours

    def write(self, image_bytes) -> list[list[Scored]]:
        """See `Writer`."""
        return [written.prompts for written in self._describe(image_bytes)]

    def describe(self, data: bytes) -> Written:
        """See `Writer`."""
        return self._describe([data])[0]

    def _describe(self, image_bytes) -> list[Written]:
        found = predict_encoded(self._member, list(image_bytes))
        nearest = self._neighbours.of_embeddings(found.embeddings)
        if found.prompts is None:
            # Written as by `predict`: in the words that the vocabulary is made of.
            return [
                Written([(_normalise(p), score) for p, score in row], COSINE)
                for row in nearest
            ]
        rows = zip(found.prompts, found.scores, nearest, strict=True)
        return [
            Written(
                [(prompt, float(score))],
                SIMILARITY,
                neighbours=row,
                bank_name=self._neighbours.name,
            )
            for prompt, score, row in rows
        ]


class SavedModelWriter:
    """An exported model: the one prompt that it writes.

    Args:
        name: for the visitor.
        saved: function of `saved_model.SavedPromptWriter`.
        neighbours: of prompts; None shows none.
    """

    def __init__(self, name: str, saved, neighbours: Neighbours | None = None):
        self.name = name
        self._saved, self._neighbours = saved, neighbours

    def write(self, image_bytes) -> list[list[Scored]]:
        """See `Writer`."""
        written = self._saved(list(image_bytes))
        rows = zip(written["prompt"], written["score"], strict=True)
        return [[(prompt.decode(), float(score))] for prompt, score in rows]

    def describe(self, data: bytes) -> Written:
        """See `Writer`."""
        written = Written(self.write([data])[0], LOG_PROBABILITY)
        return _add_neighbours(written, self._neighbours)


def _add_neighbours(written, neighbours):
    if neighbours is None:
        return written
    found = neighbours.of_prompt(written.prompts[0][0])
    return dataclasses.replace(written, neighbours=found, bank_name=neighbours.name)


def _normalise(prompt):
    return " ".join(text.split_words(prompt))
