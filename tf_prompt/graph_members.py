"""Models as parts of one graph: from pictures to embeddings without Python."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_prompt.neighbours import NeighbourIndex, unit_rows
from tf_prompt.part_tokens import PartEmbedder
from tf_prompt.serving import PromptWriter, is_word

# Of a table in a SavedModel, which a server holds in memory; at 384 numbers a
# prompt, 699,050 prompts.
MAX_TABLE_BYTES = 2**30


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


class Table(tf.Module):
    """Rows that are compared with vectors, and what each stands for.

    Args:
        rows: float `(rows, depth)`, any length of vector.
        values: arrays or lists of texts, each `rows` long.

    Raises:
        ValueError: if all that is larger than `MAX_TABLE_BYTES`.
    """

    def __init__(self, rows: np.ndarray, *values):
        super().__init__()
        sizes = [4 * v.size for v in (rows, *values) if isinstance(v, np.ndarray)]
        if sum(sizes) > MAX_TABLE_BYTES:
            raise ValueError(
                f"a table must have at most {MAX_TABLE_BYTES:,} bytes to be exported. "
                f"Received: {sum(sizes):,} bytes in {len(rows):,} rows"
            )
        # Variables, not constants: a graph is limited to 2 GB.
        self._rows = tf.Variable(unit_rows(rows), trainable=False)
        self._values = [
            tf.Variable(np.asarray(v, np.float32), trainable=False)
            if isinstance(v, np.ndarray)
            else tf.constant(v)
            for v in values
        ]

    def nearest(self, vectors, k: int = 1):
        """Finds the rows of highest cosine.

        Args:
            vectors: float32 `(batch, depth)`, any length.
            k: int > 0.

        Returns:
            rows: int32 `(batch, k)`, the most similar first; cosines: float32
            `(batch, k)`; then the values of these rows, `(batch, k, …)`.
        """
        products = tf.matmul(to_unit(vectors), self._rows, transpose_b=True)
        cosines, rows = tf.math.top_k(products, k)
        return rows, cosines, *(tf.gather(value, rows) for value in self._values)


class GraphRegressor:
    """See `members.RegressorMember`."""

    def __init__(self, model):
        self.sizes, self._model = (model.image_size,), model

    def describe(self, pictures) -> dict:
        """See `GraphMember`."""
        found = self._model(pictures[self.sizes[0]], training=False)
        return {"embedding": to_unit(found)}


class GraphNeighbours:
    """See `members.NeighbourMember`; always compares with every row.

    Args:
        image_size: int, of the pictures.
        features: function from pictures to features.
        index: features and embeddings of training images.

    Raises:
        ValueError: if the index is too large, see `Table`.
    """

    def __init__(self, image_size, features, index: NeighbourIndex):
        self.sizes = (image_size,)
        self._features, self._k, self._sharpness = features, index.k, index.sharpness
        self._table = Table(index.features, unit_rows(index.embeddings))

    def describe(self, pictures) -> dict:
        """See `GraphMember`."""
        features = self._features(pictures[self.sizes[0]])
        _, cosines, found = self._table.nearest(features, self._k)
        weights = tf.nn.softmax(self._sharpness * cosines, axis=1)
        mean = tf.einsum("bk,bkd->bd", weights, found)
        # Opposite embeddings may cancel; then the nearest one speaks alone.
        lost = tf.norm(mean, axis=1, keepdims=True) < 1e-6
        return {"embedding": to_unit(tf.where(lost, found[:, 0], mean))}


class GraphCaptioner:
    """See `members.CaptionerMember`.

    Args:
        writer: of prompts.
        parts: embeds prompts of the vocabulary's words.
    """

    def __init__(self, writer: PromptWriter, parts: PartEmbedder):
        self.sizes = (writer.image_size,)
        self._writer, self._parts = writer, parts

    def describe(self, pictures) -> dict:
        """See `GraphMember`."""
        token_ids, scores, _ = self._writer.decode(pictures[self.sizes[0]])
        words = tf.ragged.boolean_mask(token_ids, is_word(token_ids))
        prompts = self._writer.join_words(token_ids)
        return {"embedding": self._parts(words), "prompt": prompts, "score": scores}


class GraphEnsemble:
    """See `members.EnsembleMember`; each model sees pictures of its own size."""

    def __init__(self, model, members: Sequence[GraphMember]):
        self._model, self._members = model, list(members)
        self.sizes = tuple(dict.fromkeys(s for m in members for s in m.sizes))

    def describe(self, pictures) -> dict:
        """See `GraphMember`; an ensemble writes no prompts."""
        found = [member.describe(pictures)["embedding"] for member in self._members]
        return {"embedding": self._model(tf.stack(found, axis=1), training=False)}


def to_unit(vectors):
    """Gives vectors `(batch, depth)` unit length, in float32; zeros stay zeros."""
    vectors = tf.cast(vectors, tf.float32)
    lengths = tf.norm(vectors, axis=-1, keepdims=True)
    return vectors / tf.maximum(lengths, 1e-12)
