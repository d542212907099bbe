"""From a place to what writes prompts: a run, a SavedModel or a server."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tf_prompt.decoding.config import DecodingConfig

_DEFAULT = DecodingConfig()


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a model says of one image.

    Attributes:
        text: the prompt.
        score: the model's own; of a captioner the mean log-probability of the words,
            0 at best.
        embedding: float32 `(384,)` of unit length, of a model that predicts it; None
            of others, whose `embed` computes it.
    """

    text: str
    score: float
    embedding: np.ndarray | None = None


class LoadedModel:
    """A model in whatever place; made by `load`.

    Args:
        place: for messages.
        backend: function from encoded images to a dict of arrays.
    """

    def __init__(self, place: str, backend):
        self._place, self._backend = place, backend

    def predict(self, images) -> list[Prompt]:
        """Writes the prompts of images.

        Args:
            images: one image or several; each a path, bytes of a file, a PIL image,
                or uint8 `(height, width, 3)`, 0-255.

        Raises:
            FileNotFoundError: if a path does not exist.
            ValueError: if one is no image; says which.
        """
        encoded = _encode(images)
        found = self._backend(encoded)
        _require_images(found["score"])
        vectors = found.get("embedding", [None] * len(encoded))
        rows = zip(found["prompt"], found["score"], vectors, strict=True)
        return [Prompt(text.decode(), float(score), v) for text, score, v in rows]

    def embed(self, images) -> np.ndarray:
        """Predicts the embeddings of the images' prompts.

        Args:
            images: as in `predict`.

        Returns:
            float32 `(images, 384)` of unit length.

        Raises:
            FileNotFoundError, ValueError: as `predict`; if the place has none.
        """
        return self._call("embed", "embedding", _encode(images))

    def attend(self, image) -> tuple[list[str], np.ndarray]:
        """Says where the model looked for each word of the prompt that it writes.

        Args:
            image: one, as in `predict`.

        Returns:
            The words, and float32 `(words, regions)`: each row sums to 1; the regions
            are a square grid, row by row.

        Raises:
            FileNotFoundError, ValueError: as `predict`; if the place has none.
        """
        encoded = _encode(image)
        if len(encoded) != 1:
            raise ValueError(f"image must be one. Received: {len(encoded)}")
        return self._attend(encoded)

    def _call(self, signature: str, output: str, encoded) -> np.ndarray:
        raise ValueError(
            f"{signature} goes with a run, or with an export that has it. "
            f"Received: {self._place}"
        )

    def _attend(self, encoded):
        return self._call("attention", "weights", encoded)


class _LoadedRun(LoadedModel):
    """A run: its `PromptModel`, and the same with embeddings once they are wanted."""

    def __init__(self, place, loader, decoding, bank):
        super().__init__(place, loader.load_writer(place, decoding, bank))
        self._loader, self._decoding = loader, decoding
        self._embedding_model = None

    def _call(self, signature, output, encoded):
        if self._embedding_model is None:
            self._embedding_model = self._backend
            if not self._backend.predicts_embeddings:
                # Only now: MiniLM takes seconds.
                self._embedding_model = self._loader.load(self._place, self._decoding)
        found = self._embedding_model.describe_encoded(_require_sound(encoded))
        return found[output]

    def _attend(self, encoded):
        model = self._backend
        (text,) = (prompt.text for prompt in self.predict(encoded))
        (image,) = model.open(encoded)[model.image_size]
        words, weights = model.look(image, text)
        return words, np.asarray(weights, np.float32)


class _LoadedExport(LoadedModel):
    """A SavedModel, which has some signatures and not others."""

    def _call(self, signature, output, encoded):
        if signature not in self._backend.inputs:
            return super()._call(signature, output, encoded)
        found = self._backend.run(signature, encoded)
        _require_images(found[output][:, 0])
        return found[output]

    def _attend(self, encoded):
        if "attention" not in self._backend.inputs:
            return super()._attend(encoded)
        found = self._backend.run("attention", encoded)
        words = found["words"][0]
        said = [index for index, word in enumerate(words) if word]
        return [words[index].decode() for index in said], found["weights"][0, said]


def load(
    place: str | os.PathLike, bank: str | os.PathLike | None = None, **decoding
) -> LoadedModel:
    """Loads a model of any kind, wherever it is.

    Args:
        place: folder of a run of `tf_prompt.fit`, as `runs/transformer_tiny`, or
            `knn:FOLDER`, its nearest training pictures; folder of one version of an
            export, as `saved_models/transformer_tiny/1`; or a server of it,
            `http://HOST:PORT`, `https://HOST:PORT` or `grpc://HOST:PORT`, with
            `/MODEL` behind it if the model has another name than `prompt`.
        bank: runs of models of embeddings: text file of one prompt a line, of which
            the nearest is written; None takes the training prompts.
        **decoding: runs of captioners: fields of `DecodingConfig`, such as
            `num_beams=3`.

    Raises:
        FileNotFoundError: if there is nothing in the place.
        ValueError: for options that mean nothing there.
    """
    place = os.fspath(place)
    options = _decoding(decoding)
    if "://" in place:
        _require_no_bank(bank, place)
        return LoadedModel(place, connect(_server_of(place), options))
    place = os.path.expanduser(place)
    if (pathlib.Path(place) / "saved_model.pb").is_file():
        _require_no_bank(bank, place)
        return _LoadedExport(place, load_saved_model(place, options))
    # Here, as below: Keras takes seconds, which a SavedModel does without.
    from tf_prompt.inference.loading import Loader

    bank = None if bank is None else os.fspath(bank)
    return _LoadedRun(place, Loader(), options, bank)


def train(config, run_dir: str | os.PathLike, callbacks: Sequence = ()):
    """Trains a model, or goes on with the run that is in the folder.

    Args:
        config: `FitConfig`; what is None in it comes from the preset.
        run_dir: folder of the run, whatever `config.run_dir` says.
        callbacks: Keras callbacks, called after those of the run.

    Returns:
        `Run`, the trained run.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: as `training.loop.train`.
    """
    from tf_prompt.runs.run import Run
    from tf_prompt.training import loop

    config = dataclasses.replace(config, run_dir=os.fspath(run_dir))
    loop.train(config, pathlib.Path(run_dir), callbacks=callbacks)
    return Run(run_dir)


def load_run(run_dir: str, decoding: DecodingConfig, bank: str | None = None):
    """Loads a run of any kind as a `PromptModel` that writes prompts.

    Args:
        run_dir: folder of a run of `tf_prompt.fit`, or `knn:FOLDER`.
        decoding: how a captioner writes; other models take the default only.
        bank: see `load`.

    Raises:
        FileNotFoundError: if a part is missing.
        ValueError: for options that mean nothing to the model.
    """
    from tf_prompt.inference.loading import Loader

    return Loader().load_writer(run_dir, decoding, bank)


def load_saved_model(path: str, decoding: DecodingConfig):
    """Loads a SavedModel as a function of encoded images.

    Args:
        path: folder of a version, which writes as it was exported to.
        decoding: must be the default one.

    Returns:
        `SavedPromptWriter`.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: for ways of decoding, which a SavedModel cannot follow.
    """
    from tf_prompt.serving import saved_model

    if decoding != _DEFAULT:
        raise ValueError(
            "a SavedModel writes greedily; other ways of decoding need --run-dir. "
            f"Received: saved_model={path} and {decoding}"
        )
    return saved_model.SavedPromptWriter(path)


def connect(options, decoding: DecodingConfig):
    """Connects to a model on a server, as a function of encoded images.

    Args:
        options: `serving.client.options.ServerConfig`.
        decoding: must be the default one.

    Raises:
        ValueError: for ways of decoding, or a server that cannot be asked.
    """
    # gRPC is an extra.
    from tf_prompt.serving.client import writer

    return writer.connect(options, decoding)


def _decoding(options: dict) -> DecodingConfig:
    valid = [field.name for field in dataclasses.fields(DecodingConfig)]
    for name in options:
        if name not in valid:
            raise ValueError(
                f"a way of decoding must be one of {', '.join(valid)}. Received: {name}"
            )
    return DecodingConfig(**options)


def _server_of(place: str):
    from tf_prompt.serving.client.options import ServerConfig

    scheme, _, rest = place.partition("://")
    address, _, model = rest.partition("/")
    server = address if scheme == "grpc" else f"{scheme}://{address}"
    return ServerConfig(server=server, model=model or None)


def _require_no_bank(bank, place: str) -> None:
    if bank is not None:
        raise ValueError(f"bank goes with a run. Received: {bank} with {place}")


def _encode(images) -> list[bytes]:
    from tf_prompt.data.inputs import encode_images

    return encode_images(images)


def _require_images(numbers) -> None:
    broken = np.flatnonzero(np.isnan(numbers))
    if len(broken):
        raise ValueError(
            "images must be images that can be decoded. Received another thing at "
            f"images[{broken[0]}]"
        )


def _require_sound(encoded: list[bytes]) -> list[bytes]:
    from tf_prompt.data.images import is_image

    _require_images([0.0 if is_image(data) else np.nan for data in encoded])
    return encoded
