"""The training images nearest to a picture, as a model of embeddings."""

import hashlib
import pathlib

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import embedding_batches, targets
from tf_prompt.data import folder as data_folder
from tf_prompt.data.reading import Reading
from tf_prompt.data.vectors import unit_rows
from tf_prompt.inference.model import _compile, _feature_function
from tf_prompt.inference.neighbour_index import NeighbourIndex, choose_settings
from tf_prompt.inference.table import Table, to_unit
from tf_prompt.runs import folder as run_folder

NEIGHBOURS = "knn:"
_BATCH_SIZE = 64


class GraphNeighbours:
    """See `neighbours.NeighbourMember`; always compares with every row.

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


class NeighbourMember:
    """The nearest training images in the features of a run's model.

    Features of the training split are computed once and kept in the run's folder;
    how many neighbours count, and how, is chosen on the validation split.

    Args:
        run_dir: folder of a regressor's or a captioner's run.

    Attributes:
        index: `NeighbourIndex` of the training split.
        look: `tf.function` from pictures to features.

    Raises:
        FileNotFoundError: if run or data are missing.
        ValueError: if the model has no image features.
    """

    def __init__(self, run_dir: str | pathlib.Path):
        config, model = run_folder.load_model(run_dir)
        self.name = f"{NEIGHBOURS}{config.preset}"
        self.image_size = model.image_size
        self.look = _compile(_feature_function(model), model.image_size)
        folder = data_folder.find_data(config.data)
        place = pathlib.Path(run_dir) / f"neighbours-{_digest(run_dir, folder)}"
        if place.is_dir():
            self.index = NeighbourIndex.load(place)
        else:
            self.index = self._build_index(folder)
            self.index.save(place)

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        return self.index.predict(self.features(images))

    def features(self, images) -> np.ndarray:
        """See `features_of`."""
        return self.look(images).numpy()

    def _build_index(self, folder) -> NeighbourIndex:
        features, embeddings = self._read_split(folder, "train")
        # Half the memory; the order of neighbours does not need more digits.
        index = NeighbourIndex(features.astype(np.float16), embeddings)
        choose_settings(index, *self._read_split(folder, "validation"))
        return index

    def _read_split(self, folder, split):
        batches = embedding_batches.split_batches(
            Reading(folder=folder, image_size=self.image_size, batch_size=_BATCH_SIZE),
            split,
            targets.target_shards(folder, split),
        )
        features, embeddings = [], []
        for pictures, vectors in tqdm.tqdm(
            batches, f"features of {split}", unit="batch"
        ):
            features.append(self.features(pictures))
            embeddings.append(vectors.numpy())
        return np.concatenate(features), np.concatenate(embeddings)


def _digest(run_dir, folder) -> str:
    """Changes with the model's file and the data: other features, other name."""
    model = (pathlib.Path(run_dir) / run_folder.BEST_MODEL).stat()
    identity = f"{model.st_mtime_ns} {model.st_size} {folder.resolve()}"
    return hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
