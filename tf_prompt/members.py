"""Every model as one thing: a function from pictures to prompt embeddings."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt import images, interrogation_files, serving
from tf_prompt.data import dataset, embedding_dataset, targets
from tf_prompt.metrics import cosine
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator
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
    if isinstance(model, Ensemble):
        return EnsembleMember(
            model, [load_member(member) for member in config.members], config.preset
        )
    if isinstance(model, CLIPInterrogator):
        return InterrogatorMember(spec, config.preset)
    if isinstance(model, Captioner):
        vocabulary = run_folder.read_vocabulary(spec, model)
        writer = serving.PromptWriter(model, vocabulary)
        return CaptionerMember(writer, cosine.load_embedder(), config.preset)
    raise ValueError(
        f"run_dir must hold a model of images. Received: {spec} with {config.preset}"
    )


def predict_encoded(member: Member, image_bytes) -> Prediction:
    """Predicts from encoded images, decoded at each model's own size.

    Args:
        member: of `load_member`.
        image_bytes: encoded images, sound ones.
    """
    if isinstance(member, EnsembleMember):
        parts = [predict_encoded(part, image_bytes) for part in member.members]
        embeddings = [part.embeddings for part in parts]
        return Prediction(member.join(np.stack(embeddings, axis=1)))
    pictures = _decode(image_bytes, member.image_size)
    if hasattr(member, "write"):
        return member.write(pictures)
    return Prediction(member.embed(pictures))


def features_of(member: Member, image_bytes) -> np.ndarray:
    """The features of encoded images in which a member's neighbours are near.

    Of an ensemble they are those of its first member.

    Returns:
        float32 `(images, depth)`.
    """
    while isinstance(member, EnsembleMember):
        member = member.members[0]
    return member.features(_decode(image_bytes, member.image_size))


def _decode(image_bytes, size):
    return np.stack([images.decode_image(data, size) for data in image_bytes])


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
        model = writer.model
        self._features = _compile(_feature_function(model), model.image_size)

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        return self.write(images).embeddings

    def write(self, images) -> Prediction:
        """Writes prompts, and embeds them; scores are mean log-probabilities."""
        written = self._writer.write(images)
        prompts = [prompt.decode() for prompt in written["prompt"].numpy()]
        embeddings = cosine.embed(prompts, self._embedder)
        return Prediction(embeddings, prompts, written["score"].numpy())

    def features(self, images) -> np.ndarray:
        """See `features_of`."""
        return self._features(images).numpy()


class InterrogatorMember:
    """A CLIP that ranks phrases; the prompt that it makes of them is embedded.

    Args:
        run_dir: folder of its run.
        name: see `Member`.
    """

    def __init__(self, run_dir: str | pathlib.Path, name: str):
        self.name = name
        self._interrogator = interrogation_files.load_interrogator(run_dir)
        self._model = self._interrogator.model
        self.image_size = self._model.image_size
        self._features = _compile(
            lambda images, training: self._model.encode_images(images), self.image_size
        )

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        return self.write(images).embeddings

    def write(self, images) -> Prediction:
        """Makes prompts, and embeds them; scores are CLIP's similarities."""
        results = self._interrogator(images)
        return Prediction(
            np.stack([result.embedding for result in results]),
            [result.prompt for result in results],
            np.array([result.similarity for result in results]),
        )

    def features(self, images) -> np.ndarray:
        """See `features_of`."""
        return self._features(images).numpy()


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
        folder = dataset.find_data(config.data)
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
        batches = embedding_dataset.split_batches(
            folder,
            split,
            targets.target_shards(folder, split),
            image_size=self.image_size,
            batch_size=_BATCH_SIZE,
        )
        features, embeddings = [], []
        for pictures, vectors in tqdm.tqdm(
            batches, f"features of {split}", unit="batch"
        ):
            features.append(self.features(pictures))
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
