"""The results of a model for an image, in the form that the page shows."""

import dataclasses
from collections.abc import Sequence

from tf_prompt.demo.background import Background
from tf_prompt.inference.attention import draw_words
from tf_prompt.inference.bank import PromptBank
from tf_prompt.inference.model import Scored
from tf_prompt.metrics import prompt_embedder


@dataclasses.dataclass(frozen=True)
class Written:
    """The results of a model for an image.

    Attributes:
        prompts: prompts with their scores, the best first.
        score_name: meaning of the scores.
        words: each word of the best prompt, with a WebP of where the model looked.
        neighbours: prompts of a bank nearest to the best prompt, with their cosines.
        bank_name: name of the bank.
    """

    prompts: list[Scored]
    score_name: str
    words: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    neighbours: list[Scored] = dataclasses.field(default_factory=list)
    bank_name: str = "prompts"


class Neighbours:
    """Finds prompts of a bank with a similar meaning.

    Args:
        bank: the prompts.
        embedder: from `metrics.prompt_embedder.load_embedder`.
        count: int > 0, largest number of prompts to find.
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
        """Finds the prompts nearest to a text; none for an empty one."""
        if not prompt:
            return []
        return self.of_embeddings(prompt_embedder.embed([prompt], self._embedder))[0]


class Writer:
    """A model on the page.

    Args:
        name: name for the visitor.
        model: a `PromptModel` that writes prompts, or a `SavedPromptWriter`; if it is
            still loading in the background, the first image waits for it.
        num_prompts: int > 0, largest number of prompts per image.
        neighbours: finds neighbours of the best prompt; None shows none, and so does
            one that is still loading in the background.
    """

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

    def write(self, image_bytes: Sequence[bytes]) -> list[list[Scored]]:
        """Writes the prompts of encoded images.

        Args:
            image_bytes: encoded, intact images.

        Returns:
            For each image a list of prompts with scores, the best first.
        """
        return self._model.write_best(list(image_bytes), self._num_prompts)

    def describe(self, data: bytes) -> Written:
        """Computes all results for one encoded image."""
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
