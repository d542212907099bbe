"""What a model says of a picture, in the form that the page shows."""

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
    """What a model says of a picture.

    Attributes:
        prompts: texts and their scores, the best first.
        score_name: what the scores are.
        words: each word of the best prompt, and a WebP of where the model looked.
        neighbours: prompts of a bank near to the best prompt, and their cosines.
        bank_name: what the bank holds.
        phrases: by table, pairs of phrase and score; empty of models without.
    """

    prompts: list[Scored]
    score_name: str
    words: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    neighbours: list[Scored] = dataclasses.field(default_factory=list)
    bank_name: str = "prompts"
    phrases: dict[str, list[Scored]] = dataclasses.field(default_factory=dict)


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


class Writer:
    """A model of the page.

    Attributes:
        score_field: name of the score in results, as `predict` has it.
        tables: names of the tables whose phrases it ranks.
        count: function from texts to how many tokens CLIP reads of each; None where no
            CLIP is loaded.
        is_ready: whether a picture is looked at at once.

    Args:
        name: for the visitor.
        model: a `PromptModel` that writes prompts, or a `SavedPromptWriter`; of one in
            the background the first picture waits for it.
        num_prompts: int > 0. Prompts of a picture at most.
        neighbours: of the best prompt; None shows none, and so do those in the
            background until they are there.
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

    def write(self, image_bytes: Sequence[bytes]) -> list[list[Scored]]:
        """Writes the prompts of encoded images.

        Args:
            image_bytes: sound images.

        Returns:
            Of each image its prompts and scores, the best first.
        """
        return self._model.write_best(list(image_bytes), self._num_prompts)

    @property
    def is_ready(self) -> bool:
        """See above."""
        return not isinstance(self._given, Background) or self._given.get() is not None

    def results(self, image_bytes: Sequence[bytes]) -> list[dict]:
        """Writes the best prompts of encoded images, in the form of `predict`'s."""
        best = (prompts[0] for prompts in self.write(image_bytes))
        return [{"prompt": text, self.score_field: score} for text, score in best]

    def describe(self, data: bytes) -> Written:
        """Says all it can of one encoded image."""
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
    """A pretrained CLIP as a model of the page: its prompts are made of phrases.

    Has the attributes of `Writer`.

    Args:
        name: for the visitor.
        tokens: of the CLIP.
        tables: names of its tables.
        interrogator: ranks their phrases, once they are embedded.
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

    @property
    def is_ready(self) -> bool:
        """Whether the phrases are embedded."""
        return self._interrogator.get() is not None

    def results(self, image_bytes: Sequence[bytes]) -> list[dict]:
        """Interrogates encoded images; results have the form of `interrogate`'s."""
        return [image_batches.to_json(found) for found in self._ask(image_bytes)]

    def describe(self, data: bytes) -> Written:
        """Says all it can of one encoded image."""
        (found,) = self._ask([data])
        prompts = [(found.prompt, found.similarity)]
        return Written(prompts, "similarity by CLIP", phrases=found.phrases)

    def _ask(self, image_bytes):
        interrogator = self._interrogator.wait()
        decoded = [interrogator.decode(data) for data in image_bytes]
        return interrogator(np.stack(decoded))
