"""Models that predict embeddings: regressors, ensembles, models with a bank."""

from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.data.text import normalise
from tf_prompt.inference.bank import PromptBank
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.table import Table, to_unit
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.regressor import EmbeddingRegressor


class RegressorModel(PromptModel):
    """A regressor with normalised output.

    Args:
        network: an `EmbeddingRegressor`.
        name: see `PromptModel`.
    """

    writes_prompts = False

    def __init__(self, network: EmbeddingRegressor, name: str):
        self._network = network
        super().__init__(name, [network.image_size])

    def _describe(self, images):
        found = self._network(images[self.image_size], training=False)
        return {"embedding": to_unit(found)}

    def _features(self, images):
        return self._network.extract_features(images[self.image_size], training=False)


class EnsembleModel(PromptModel):
    """An ensemble; each member sees images of its own size.

    Its features are those of its first member.

    Args:
        network: an `Ensemble`.
        members: the members, in order.
        name: see `PromptModel`.
    """

    writes_prompts = False

    def __init__(self, network: Ensemble, members: Sequence[PromptModel], name: str):
        self.members, self._network = list(members), network
        super().__init__(name, [size for m in members for size in m.sizes])

    def require_exportable(self) -> None:
        """See `PromptModel`."""
        for member in self.members:
            member.require_exportable()
            if not member.embeds_in_graph:
                raise ValueError(
                    "an ensemble's members must embed in a graph to be exported. "
                    f"Received: {member.name}, which writes subwords"
                )

    def _describe(self, images):
        found = [member.describe(images)["embedding"] for member in self.members]
        return {"embedding": self._network(tf.stack(found, axis=1), training=False)}

    def _features(self, images):
        return self.members[0].features(images)


class BankedModel(PromptModel):
    """An embedding model that returns the nearest prompt of a bank.

    Prompts are returned normalised, as words of a vocabulary; their cosine with the
    embedding is the score.

    Args:
        model: a model that predicts embeddings and writes no prompts.
        bank: the prompts to choose from.
    """

    def __init__(self, model: PromptModel, bank: PromptBank):
        self._model, self._count = model, len(bank.prompts)
        self._table = Table(bank.embeddings, [normalise(p) for p in bank.prompts])
        super().__init__(model.name, model.sizes)

    def require_exportable(self) -> None:
        """See `PromptModel`."""
        self._model.require_exportable()
        self._table.require_exportable()

    def write_best(self, image_bytes, count):
        """See `PromptModel`."""
        embeddings = self._model.describe(self.open(image_bytes))["embedding"]
        _, cosines, prompts = self._table.nearest(embeddings, min(count, self._count))
        rows = zip(prompts.numpy(), cosines.numpy(), strict=True)
        return [
            [(text.decode(), float(score)) for text, score in zip(*row, strict=True)]
            for row in rows
        ]

    def _describe(self, images):
        found = self._model.describe(images)
        _, cosines, prompts = self._table.nearest(found["embedding"])
        return {**found, "prompt": prompts[:, 0], "score": cosines[:, 0]}

    def _features(self, images):
        return self._model.features(images)
