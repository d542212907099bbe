"""Regressors and ensembles: pictures in, prompt embeddings out."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.data.vectors import unit_rows
from tf_prompt.inference.model import GraphMember, Member, _compile, _feature_function
from tf_prompt.inference.table import to_unit
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.regressor import EmbeddingRegressor


class GraphRegressor:
    """See `embedding_models.RegressorMember`."""

    def __init__(self, model):
        self.sizes, self._model = (model.image_size,), model

    def describe(self, pictures) -> dict:
        """See `GraphMember`."""
        found = self._model(pictures[self.sizes[0]], training=False)
        return {"embedding": to_unit(found)}


class GraphEnsemble:
    """See `EnsembleMember`; each model sees pictures of its own size."""

    def __init__(self, model, members: Sequence[GraphMember]):
        self._model, self._members = model, list(members)
        self.sizes = tuple(dict.fromkeys(s for m in members for s in m.sizes))

    def describe(self, pictures) -> dict:
        """See `GraphMember`; an ensemble writes no prompts."""
        found = [member.describe(pictures)["embedding"] for member in self._members]
        return {"embedding": self._model(tf.stack(found, axis=1), training=False)}


class EnsembleMember:
    """Several models and what joins them.

    Args:
        model: an `Ensemble`.
        members: its models, in their order.
        name: see `Member`.
    """

    def __init__(self, model: Ensemble, members: Sequence[Member], name: str):
        self.name, self.members = name, list(members)
        self.image_size = max(member.image_size for member in members)
        self._model = model

    def join(self, embeddings) -> np.ndarray:
        """Joins embeddings, `(batch, members, 384)`, into `(batch, 384)`."""
        return np.asarray(self._model(embeddings))

    def embed(self, images) -> np.ndarray:
        """See `Member`; each model sees the pictures resized from the largest."""
        found = []
        for member in self.members:
            size = (member.image_size, member.image_size)
            resized = tf.image.resize(images, size, antialias=True)
            found.append(member.embed(tf.cast(tf.round(resized), tf.uint8)))
        return self.join(np.stack(found, axis=1))


class RegressorMember:
    """A regressor; its output is brought to unit length.

    Args:
        model: an `EmbeddingRegressor`.
        name: see `Member`.
    """

    def __init__(self, model: EmbeddingRegressor, name: str):
        self.name, self.image_size = name, model.image_size
        self._predict = _compile(model, model.image_size)
        self._features = _compile(_feature_function(model), model.image_size)

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        return unit_rows(self._predict(images).numpy())

    def features(self, images) -> np.ndarray:
        """See `features_of`."""
        return self._features(images).numpy()
