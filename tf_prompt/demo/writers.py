"""Describes images with a model, in the form that the page shows."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tf_prompt.demo.background import Background
from tf_prompt.inference import image_batches
from tf_prompt.inference.attention import draw_words
from tf_prompt.inference.bank import PromptBank
from tf_prompt.inference.model import Scored
from tf_prompt.interrogation.interrogator import Interrogator
from tf_prompt.metrics import prompt_embedder


@dataclasses.dataclass(frozen=True)
class Written:
    """A model's results for an image.

    Attributes:
        prompts: pairs of prompt and score, the best first.
        score_name: name of the scores.
        words: pairs of a word of the best prompt and a WebP of its attention.
        neighbours: pairs of a bank's prompt near the best prompt, and its cosine.
        bank_name: name of the bank.
        phrases: dict from table to pairs of phrase and score; may be empty.
    """

    prompts: list[Scored]
    score_name: str
    words: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    neighbours: list[Scored] = dataclasses.field(default_factory=list)
    bank_name: str = "prompts"
    phrases: dict[str, list[Scored]] = dataclasses.field(default_factory=dict)


class Neighbours:
    """Finds prompts of a bank with a similar meaning.

    Args:
        bank: `PromptBank`.
        embedder: from `metrics.prompt_embedder.load_embedder`.
        count: int > 0. Maximum number of prompts.
        name: name of the bank, such as `training prompts`.
    """

    def __init__(self, bank: PromptBank, embedder, count: int, name: str):
        self.name = name
        self._bank, self._embedder = bank, embedder
        self._count = min(count, len(bank.prompts))

    def of_embeddings(self, embeddings) -> list[list[Scored]]:
        """Finds the prompts nearest to embeddings, float `(queries, 384)`."""
        found, cosines = self._bank.nearest(embeddings, self._count)
        return [
            list(zip(prompts, map(float, row), strict=True))
            for prompts, row in zip(found, cosines, strict=True)
        ]

    def of_prompt(self, prompt: str) -> list[Scored]:
        """Finds the prompts nearest to a text; none for an empty text."""
        if not prompt:
            return []
        return self.of_embeddings(prompt_embedder.embed([prompt], self._embedder))[0]


class Writer:
    """A model of the page.

    Attributes:
        score_field: name of the score in results, as in `predict`.
        tables: names of the tables whose phrases it ranks.
        count: function from texts to their numbers of CLIP tokens; None if no CLIP is
            loaded.
        is_ready: whether images are described at once.

    Args:
        name: name on the page.
        model: a `PromptModel` that writes prompts, or a `SavedPromptWriter`; either may
            be in a `Background`, for which the first image waits.
        num_prompts: int > 0. Maximum number of prompts per image.
        neighbours: `Neighbours`; None shows none, and neither does a `Background` until
            it is ready.
    """

    score_field = "score"
    tables: Sequence[str] = ()
    count = None

    def __init__(
        self,
        name: str,
        model,
        num_prompts: int,
        neighbours: Neighbours | Background[Neighbours | None] | None = None,
    ):
        self.name = name
        self._given, self._num_prompts = model, num_prompts
        self._neighbours = neighbours

    @property
    def _model(self):
        given = self._given
        return given.wait() if isinstance(given, Background) else given

    def start(self) -> None:
        """Starts what is loaded in the background."""
        for part in (self._given, self._neighbours):
            if isinstance(part, Background):
                part.start()

    def write(self, image_bytes: Sequence[bytes]) -> list[list[Scored]]:
        """Writes the prompts of encoded images.

        Args:
            image_bytes: list of bytes, decodable images.

        Returns:
            For each image its pairs of prompt and score, the best first.
        """
        return self._model.write_best(list(image_bytes), self._num_prompts)

    @property
    def is_ready(self) -> bool:
        """Whether images are described at once."""
        return not isinstance(self._given, Background) or self._given.get() is not None

    def results(self, image_bytes: Sequence[bytes]) -> list[dict]:
        """Writes the best prompt of each encoded image, as results like `predict`'s."""
        best = (prompts[0] for prompts in self.write(image_bytes))
        return [{"prompt": text, self.score_field: score} for text, score in best]

    def describe(self, data: bytes) -> Written:
        """Describes one encoded image."""
        prompts = self.write([data])[0]
        best, near = prompts[0][0], self._neighbours
        if isinstance(near, Background):
            near = near.get()
        return Written(
            prompts,
            self._model.score_name,
            self._look(data, best),
            near.of_prompt(best) if near else [],
            near.name if near else "prompts",
        )

    def _look(self, data, prompt):
        if not self._model.attends:
            return []
        (image,) = self._model.open([data])[self._model.image_size]
        views = draw_words(self._model, image, prompt)
        return list(zip(prompt.split(), views, strict=True))


class Ranker:
    """A pretrained CLIP as a model of the page, which builds prompts from phrases.

    It has the attributes of `Writer`.

    Args:
        name: name on the page.
        tokens: the CLIP's tokens.
        tables: names of its tables.
        interrogator: `Background` of the interrogator, which first embeds phrases.
    """

    score_field = "similarity"

    def __init__(
        self,
        name: str,
        tokens,
        tables: Sequence[str],
        interrogator: Background[Interrogator],
    ):
        self.name, self.tables = name, tables
        self.count = tokens.count if tokens.are_of_clip else None
        self._interrogator = interrogator

    def start(self) -> None:
        """Starts to embed the phrases."""
        self._interrogator.start()

    @property
    def is_ready(self) -> bool:
        """Whether the phrases are embedded."""
        return self._interrogator.get() is not None

    def results(self, image_bytes: Sequence[bytes]) -> list[dict]:
        """Interrogates encoded images; results are like `interrogate`'s."""
        return [image_batches.to_json(found) for found in self._ask(image_bytes)]

    def describe(self, data: bytes) -> Written:
        """Describes one encoded image."""
        (found,) = self._ask([data])
        prompts = [(found.prompt, found.similarity)]
        return Written(prompts, "similarity by CLIP", phrases=found.phrases)

    def _ask(self, image_bytes):
        interrogator = self._interrogator.wait()
        decoded = [interrogator.decode(data) for data in image_bytes]
        return interrogator(np.stack(decoded))
