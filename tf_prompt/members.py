"""Every model as one thing: a function from pictures to prompt embeddings."""

import hashlib
import pathlib
from typing import Protocol

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt import serving
from tf_prompt.data import dataset, embedding_dataset, targets
from tf_prompt.metrics import cosine
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.neighbours import NeighbourIndex, choose_settings, unit_rows
from tf_prompt.training import run_folder

NEIGHBOURS = "knn:"
_BATCH_SIZE = 64


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


def load_member(spec: str | pathlib.Path) -> Member:
    """Loads the model of a run folder.

    Args:
        spec: folder of a run of `tf_prompt.fit`; `knn:FOLDER` predicts from the
            training images nearest in the features of that run's model.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if it cannot be used so.
    """
    spec = str(spec)
    if spec.startswith(NEIGHBOURS):
        return NeighbourMember(spec.removeprefix(NEIGHBOURS))
    config, model = run_folder.load_model(spec)
    if isinstance(model, EmbeddingRegressor):
        return RegressorMember(model, config.preset)
    if isinstance(model, Captioner):
        _, vocabulary, model = run_folder.load_run(spec)
        writer = serving.PromptWriter(model, vocabulary)
        return CaptionerMember(writer, cosine.load_embedder(), config.preset)
    raise ValueError(
        f"run_dir must hold a model of images. Received: {spec} with {config.preset}"
    )


class RegressorMember:
    """A regressor; its output is brought to unit length.

    Args:
        model: an `EmbeddingRegressor`.
        name: see `Member`.
    """

    def __init__(self, model: EmbeddingRegressor, name: str):
        self.name, self.image_size = name, model.image_size
        self.model = model
        self._predict = _compile(model, model.image_size)

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        return unit_rows(self._predict(images).numpy())


class CaptionerMember:
    """A captioner; its prompts are embedded by MiniLM.

    Args:
        writer: of prompts.
        embedder: from `metrics.cosine.load_embedder`.
        name: see `Member`.
    """

    def __init__(self, writer: serving.PromptWriter, embedder, name: str):
        self.name, self.image_size = name, writer.image_size
        self._writer, self._embedder = writer, embedder

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        prompts = self._writer.write(images)["prompt"].numpy()
        return cosine.embed([prompt.decode() for prompt in prompts], self._embedder)


class NeighbourMember:
    """The nearest training images in the features of a run's model.

    Features of the training split are computed once and kept in the run's folder;
    how many neighbours count, and how, is chosen on the validation split.

    Args:
        run_dir: folder of a regressor's or a captioner's run.

    Raises:
        FileNotFoundError: if run or data are missing.
        ValueError: if the model has no image features.
    """

    def __init__(self, run_dir: str | pathlib.Path):
        config, model = run_folder.load_model(run_dir)
        self.name = f"{NEIGHBOURS}{config.preset}"
        self.image_size = model.image_size
        self._features = _compile(_feature_function(model), model.image_size)
        folder = dataset.find_data(config.data)
        place = pathlib.Path(run_dir) / f"neighbours-{_digest(run_dir, folder)}"
        if place.is_dir():
            self._index = NeighbourIndex.load(place)
        else:
            self._index = self._build_index(folder)
            self._index.save(place)

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        return self._index.predict(self._features(images).numpy())

    def _build_index(self, folder) -> NeighbourIndex:
        features, embeddings = self._read_split(folder, "train")
        # Half the memory; the order of neighbours does not need more digits.
        index = NeighbourIndex(features.astype(np.float16), embeddings)
        choose_settings(index, *self._read_split(folder, "validation"))
        return index

    def _read_split(self, folder, split):
        batches = embedding_dataset.split_batches(
            folder,
            split,
            targets.target_shards(folder, split),
            image_size=self.image_size,
            batch_size=_BATCH_SIZE,
        )
        features, embeddings = [], []
        for images, vectors in tqdm.tqdm(batches, f"features of {split}", unit="batch"):
            features.append(self._features(images).numpy())
            embeddings.append(vectors.numpy())
        return np.concatenate(features), np.concatenate(embeddings)


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


def _digest(run_dir, folder) -> str:
    """Changes with the model's file and the data: other features, other name."""
    model = (pathlib.Path(run_dir) / run_folder.BEST_MODEL).stat()
    identity = f"{model.st_mtime_ns} {model.st_size} {folder.resolve()}"
    return hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
