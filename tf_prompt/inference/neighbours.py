"""Predicts embeddings by averaging those of the nearest training images."""

import hashlib
import pathlib

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import embedding_batches, targets
from tf_prompt.data.reading import Reading
from tf_prompt.data.vectors import unit_rows
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.neighbour_index import NeighbourIndex, choose_settings
from tf_prompt.inference.table import Table, to_unit
from tf_prompt.runs.run import Run

NEIGHBOURS = "knn:"
_BATCH_SIZE = 64


class NeighbourModel(PromptModel):
    """Averages the embeddings of the nearest training images.

    An exact index is part of the graph; a faiss index, for more rows, is searched
    outside of the graph and cannot be exported.

    Args:
        model: the model that computes features.
        index: features and embeddings of the training images.
    """

    writes_prompts = False

    def __init__(self, model: PromptModel, index: NeighbourIndex):
        self._model, self.index = model, index
        self._table = None
        if index.is_exact:
            self._table = Table(index.features, unit_rows(index.embeddings))
        super().__init__(f"{NEIGHBOURS}{model.name}", model.sizes)

    def require_exportable(self) -> None:
        """See `PromptModel`."""
        self._model.require_exportable()
        if self._table is None:
            raise ValueError(
                "only an exact index of neighbours can be exported. "
                f"Received: a faiss index with {len(self.index.features):,} rows"
            )
        self._table.require_exportable()

    def _describe(self, images):
        features = self._model.features(images)
        if self._table is None:
            found = tf.numpy_function(self.index.predict, [features], tf.float32)
            width = self.index.embeddings.shape[1]
            return {"embedding": tf.ensure_shape(found, (None, width))}
        _, cosines, found = self._table.nearest(features, self.index.k)
        weights = tf.nn.softmax(self.index.sharpness * cosines, axis=1)
        mean = tf.einsum("bk,bkd->bd", weights, found)
        # If opposite embeddings cancel, take the nearest one.
        lost = tf.norm(mean, axis=1, keepdims=True) < 1e-6
        return {"embedding": to_unit(tf.where(lost, found[:, 0], mean))}

    def _features(self, images):
        return self._model.features(images)


def open_index(model: PromptModel, run: Run) -> NeighbourIndex:
    """Opens the index of a run's training images, or builds it.

    The features of the training split are computed once and stored in the run's
    folder; the number of neighbours and their weights are chosen on the validation
    split.

    Args:
        model: the run's model.
        run: the run.

    Raises:
        FileNotFoundError: if the data are missing.
    """
    folder = run.find_data()
    place = run.path / f"neighbours-{_digest(run, folder)}"
    if place.is_dir():
        return NeighbourIndex.load(place)
    features, embeddings = _read_split(model, folder, "train")
    # float16 halves the memory, and is precise enough for the order of neighbours.
    index = NeighbourIndex(features.astype(np.float16), embeddings)
    choose_settings(index, *_read_split(model, folder, "validation"))
    index.save(place)
    return index


def _read_split(model, folder: pathlib.Path, split: str):
    reading = Reading(
        folder=folder, image_size=model.image_size, batch_size=_BATCH_SIZE
    )
    paths = targets.target_shards(folder, split)
    batches = embedding_batches.split_batches(reading, split, paths)
    features, embeddings = [], []
    for images, vectors in tqdm.tqdm(batches, f"features of {split}", unit="batch"):
        features.append(model.features(images).numpy())
        embeddings.append(vectors.numpy())
    return np.concatenate(features), np.concatenate(embeddings)


def _digest(run: Run, folder: pathlib.Path) -> str:
    """Hash of the model's file and the data, on which the features depend."""
    model = run.model_stat
    identity = f"{model.st_mtime_ns} {model.st_size} {folder.resolve()}"
    return hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
