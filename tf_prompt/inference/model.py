"""Models as parts of one graph: from pictures to embeddings without Python."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_prompt.models.captioner import Captioner
from tf_prompt.models.regressor import EmbeddingRegressor


class GraphMember(Protocol):
    """What an export asks of a model.

    Attributes:
        sizes: pixels a side of the pictures it looks at, one or several.
    """

    sizes: tuple[int, ...]

    def describe(self, pictures: Mapping[int, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Describes pictures.

        Args:
            pictures: by size, uint8 `(batch, size, size, 3)`.

        Returns:
            dict of `embedding`, float32 `(batch, 384)` of unit length, and, of a
            model that writes prompts, `prompt` and `score`, each `(batch,)`.
        """
        ...


class Member(Protocol):
    """What ensembles, evaluation and submissions ask of a model.

    Attributes:
        name: for tables, such as `vit_regressor_tiny`.
        image_size: pixels a side of the pictures.
    """

    name: str
    image_size: int

    def embed(self, images) -> np.ndarray:
        """Predicts embeddings.

        Args:
            images: uint8 `(batch, image_size, image_size, 3)`.

        Returns:
            float32 `(batch, 384)` of unit length.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of pictures.

    Attributes:
        embeddings: float32 `(batch, 384)` of unit length.
        prompts: the text of each, if the model writes any.
        scores: float `(batch,)`, the model's own of each prompt, if it writes any.
    """

    embeddings: np.ndarray
    prompts: list[str] | None = None
    scores: np.ndarray | None = None


def _feature_function(model):
    if isinstance(model, EmbeddingRegressor):
        return lambda images, training: model.extract_features(images, training)
    if isinstance(model, Captioner):
        return lambda images, training: tf.reduce_mean(
            model.extract_regions(images, training), axis=1
        )
    raise ValueError(
        "knn needs the run of a regressor or a captioner. "
        f"Received: {type(model).__name__}"
    )


def _compile(function, image_size):
    signature = [tf.TensorSpec((None, image_size, image_size, 3), tf.uint8)]
    return tf.function(
        lambda images: function(images, training=False), input_signature=signature
    )
