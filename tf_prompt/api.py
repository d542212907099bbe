"""The Python interface: loads models from runs, SavedModels and servers; trains."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.serving import hub, opening


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A model's answer for one image.

    Attributes:
        text: the prompt.
        score: the model's own score. For captioners the mean log-probability of the
            words, at most 0.
        embedding: float32 `(384,)` of unit length from models that predict it, else
            None; `LoadedModel.embed` computes it for any model.

    Example:

    >>> prompt = tf_prompt.Prompt("a red patch", score=-0.1)
    >>> prompt.text
    'a red patch'
    >>> prompt
    Prompt(text='a red patch', score=-0.1)
    """

    text: str
    score: float
    # Its 384 numbers would fill a page, and cannot be compared with ==.
    embedding: np.ndarray | None = dataclasses.field(
        default=None, repr=False, compare=False
    )


class LoadedModel:
    """A model that `load` found in a run, a SavedModel or on a server.

    Args:
        place: where the model is, for messages.
        backend: function from encoded images to a dict of arrays.

    Example:

    >>> model = tf_prompt.load("runs/transformer_tiny")
    >>> model
    LoadedModel('runs/transformer_tiny')
    >>> model.predict("red.jpg")[0].text
    'a red patch left'
    """

    def __init__(self, place: str, backend):
        self._place, self._backend = place, backend

    def __repr__(self) -> str:
        return f"LoadedModel({self._place!r})"

    def predict(self, images) -> list[Prompt]:
        """Writes the prompts of images.

        Args:
            images: one image or several, each a path, the bytes of a file, a PIL
                image, or a uint8 array or tensor `(height, width, 3)`, 0-255.

        Returns:
            list of `Prompt`, one per image.

        Raises:
            FileNotFoundError: if a path does not exist.
            ValueError: if something is not an image; the message says which.

        Example:

        >>> model = tf_prompt.load("runs/transformer_tiny")
        >>> image = PIL.Image.open("red.jpg")
        >>> [prompt.text for prompt in model.predict([image, "green.jpg"])]
        ['a red patch left', 'a green patch top']
        """
        encoded = _encode(images)
        found = self._backend(encoded)
        _require_images(found["score"])
        vectors = found.get("embedding", [None] * len(encoded))
        rows = zip(found["prompt"], found["score"], vectors, strict=True)
        return [Prompt(text.decode(), float(score), v) for text, score, v in rows]

    def embed(self, images) -> np.ndarray:
        """Predicts the MiniLM embeddings of the images' prompts.

        Args:
            images: as in `predict`.

        Returns:
            float32 `(images, 384)`, rows of unit length.

        Raises:
            FileNotFoundError, ValueError: as in `predict`.
            ValueError: if the model is on a server, or in an export without
                embeddings.

        Example:

        >>> model = tf_prompt.load("runs/transformer_tiny")
        >>> model.embed(["red.jpg", "green.jpg"]).shape
        (2, 384)
        """
        return self._call("embed", "embedding", _encode(images))

    def attend(self, image) -> tuple[list[str], np.ndarray]:
        """Returns the attention over image regions for each word of the prompt.

        Args:
            image: one image, as in `predict`.

        Returns:
            The words of the prompt, and float32 `(words, regions)`: each row sums to
            1; the regions are a square grid in row-major order.

        Raises:
            FileNotFoundError, ValueError: as in `predict`.
            ValueError: for more than one image, a model without attention, one on a
                server, or one in an export without this signature.

        Example:

        >>> model = tf_prompt.load("runs/transformer_tiny")
        >>> words, weights = model.attend("red.jpg")
        >>> words, weights.shape
        (['a', 'red', 'patch', 'left'], (4, 16))
        """
        encoded = _encode(image)
        if len(encoded) != 1:
            raise ValueError(f"image must be one image. Received: {len(encoded)}")
        return self._attend(encoded)

    def _call(self, signature: str, output: str, encoded) -> np.ndarray:
        raise ValueError(
            f"this needs a run, or an export with the signature {signature}. "
            f"Received: {self._place}"
        )

    def _attend(self, encoded):
        return self._call("attention", "weights", encoded)


class _LoadedRun(LoadedModel):
    """A run; its model of embeddings is loaded on first use."""

    def __init__(self, place, loader, decoding, bank):
        super().__init__(place, loader.load_writer(place, decoding, bank))
        self._loader, self._decoding = loader, decoding
        self._embedding_model = None

    def _call(self, signature, output, encoded):
        if self._embedding_model is None:
            self._embedding_model = self._backend
            if not self._backend.predicts_embeddings:
                # Not earlier: loading MiniLM takes seconds.
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
    """A SavedModel, which may lack some signatures."""

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
    """Loads a model of any kind from a run, a SavedModel or a server.

    Args:
        place: where the model is, one of
            - the folder of a run of `tf_prompt.fit`, such as `runs/transformer_tiny`,
              or `knn:FOLDER` for the nearest training images of that run;
            - the folder of one version of an export, such as
              `saved_models/transformer_tiny/1`;
            - a TF Serving server, `http://HOST:PORT`, `https://HOST:PORT` or
              `grpc://HOST:PORT`, followed by `/MODEL` unless the model's name is
              `transformer_tiny`;
            - a run that `tf_prompt.push` shared on a hub, `hf://OWNER/NAME` or
              `kaggle://OWNER/MODEL/keras/VARIATION`, with `@REVISION` or `/VERSION`
              for another than the newest.
        bank: text file of prompts, one per line, from which models that predict
            embeddings choose the nearest; None takes the training prompts.
        **decoding: fields of `DecodingConfig` for the run of a captioner, such as
            `num_beams=3`.

    Returns:
        `LoadedModel` with the methods `predict`, `embed` and `attend`.

    Raises:
        FileNotFoundError: if there is no model in that place.
        ValueError: for options that the model does not have.

    Example:

    >>> model = tf_prompt.load("runs/transformer_tiny", num_beams=3)
    >>> [prompt.text for prompt in model.predict(["red.jpg", "green.jpg"])]
    ['a red patch left', 'a green patch top']
    """
    place = os.fspath(place)
    options = _decoding(decoding)
    if hub.is_on_hub(place):
        place = os.fspath(hub.fetch(place))
    if "://" in place:
        _require_no_bank(bank, place)
        return LoadedModel(place, opening.connect(_server_of(place), options))
    place = os.path.expanduser(place)
    if (pathlib.Path(place) / "saved_model.pb").is_file():
        _require_no_bank(bank, place)
        return _LoadedExport(place, opening.load_saved_model(place, options))
    _require_run(place)
    # Imported here and below, because a SavedModel needs no Keras, which takes seconds.
    from tf_prompt.inference.loading import Loader

    bank = None if bank is None else os.fspath(bank)
    return _LoadedRun(place, Loader(), options, bank)


def train(config, run_dir: str | os.PathLike, callbacks: Sequence = ()):
    """Trains a model, or resumes the run in the folder.

    Args:
        config: `FitConfig`; fields that are None take the preset's values.
        run_dir: folder of the run; it replaces `config.run_dir`.
        callbacks: Keras callbacks, called after those of the run.

    Returns:
        `Run`, the trained run.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: as in `training.loop.train`.

    Example:

    >>> small = ("image_size=32", "num_decoder_layers=1")
    >>> config = tf_prompt.FitConfig(data="shards", epochs=1, set=small)
    >>> run = tf_prompt.train(config, "runs/new")
    >>> run.path
    PosixPath('runs/new')
    >>> run.config.epochs
    1
    """
    from tf_prompt.inference.devices import bound_gpu_memory
    from tf_prompt.runs.run import Run
    from tf_prompt.training import loop

    bound_gpu_memory(config.gpu_memory)
    config = dataclasses.replace(config, run_dir=os.fspath(run_dir))
    loop.train(config, pathlib.Path(run_dir), callbacks=callbacks)
    return Run(run_dir)


def _decoding(options: dict) -> DecodingConfig:
    valid = [field.name for field in dataclasses.fields(DecodingConfig)]
    for name in options:
        if name not in valid:
            raise ValueError(
                f"a decoding option must be one of {', '.join(valid)}. Received: {name}"
            )
    return DecodingConfig(**options)


def _server_of(place: str):
    from tf_prompt.serving.client.options import ServerConfig

    scheme, _, rest = place.partition("://")
    address, _, model = rest.partition("/")
    server = address if scheme == "grpc" else f"{scheme}://{address}"
    return ServerConfig(server=server, model=model or None)


def _require_run(place: str) -> None:
    # Before the import of Keras, and also for an export's folder without its version.
    if not pathlib.Path(place.removeprefix("knn:"), "config.json").is_file():
        raise FileNotFoundError(
            "place must be the folder of a run, the folder of one version of an export "
            "such as saved_models/NAME/1, or the address of a server. "
            f"Received: {place}"
        )


def _require_no_bank(bank, place: str) -> None:
    if bank is not None:
        raise ValueError(f"bank needs a run. Received: {bank} with {place}")


def _encode(images) -> list[bytes]:
    from tf_prompt.data.inputs import encode_images

    return encode_images(images)


def _require_images(numbers) -> None:
    broken = np.flatnonzero(np.isnan(numbers))
    if len(broken):
        raise ValueError(
            "images must be decodable images. Received something else at "
            f"images[{broken[0]}]"
        )


def _require_sound(encoded: list[bytes]) -> list[bytes]:
    from tf_prompt.data.images import is_image

    _require_images([0.0 if is_image(data) else np.nan for data in encoded])
    return encoded
