"""The interface of all models at inference: images in, prompts and embeddings out."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.data import images as image_codec
from tf_prompt.data.graphs import compile_function

Scored = tuple[str, float]


@dataclasses.dataclass(frozen=True)
class Steps:
    """The parts of a captioner that a decoding loop outside TensorFlow needs.

    Attributes:
        network: a `Captioner`: `encode`, `step`, and its sizes.
        vocabulary: the `Vocabulary`, with the text of its tokens.
        banned_ids: tokens that are never written.
        write: function from uint8 images `(batch, size, size, 3)` to their prompts,
            an array of bytes, written greedily.
    """

    network: object
    vocabulary: object
    banned_ids: tuple[int, ...]
    write: Callable


class PromptModel:
    """The interface of a model at inference, with a subclass for each kind of model.

    Subclasses define `_describe` and `_features` in TensorFlow. Both are compiled
    once, and exports contain the same functions.

    Args:
        name: name for tables, such as `vit_regressor_tiny`.
        sizes: the side of its input images in pixels; several if it takes several.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of numpy arrays, the result of `answer`. For a broken image, texts are
        empty and numbers are NaN.

    Attributes:
        image_size: the largest of `sizes`.
        serve: the call as a `tf.function`, from strings `(batch,)` to tensors.
    """

    # Whether `describe` returns `prompt` and `score`, and the meaning of that score.
    writes_prompts = True
    score_name = "cosine"
    # Whether `look` returns the attention for each word.
    attends = False
    # Whether `describe` predicts the embedding itself, not that of a text it wrote.
    predicts_embeddings = True
    # Whether `describe` gives an embedding at all.
    embeds = True
    # Whether a graph computes the embedding, so that it can be exported.
    embeds_in_graph = True
    # Whether prompts are written like the original ones, not as normalised words.
    is_raw = False
    # Whether `describe` lists modifiers, apart from the prompt that they make.
    lists_modifiers = False
    # Whether exports have a signature that takes pixels.
    takes_pixels = False
    is_thread_safe = True

    def __init__(self, name: str, sizes: Sequence[int]):
        self.name, self.sizes = name, tuple(dict.fromkeys(sizes))
        self.image_size = max(self.sizes)
        self._compiled_describe = self._compile(self._describe)
        self._compiled_features = self._compile(self._features)
        encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
        self.serve = compile_function(self._serve, [encoded])
        self._open = compile_function(
            lambda data: image_codec.decode_batch(data, self.sizes), [encoded]
        )

    def describe(self, images) -> dict[str, tf.Tensor]:
        """Computes everything that the model predicts for images.

        Args:
            images: dict from size to uint8 `(batch, size, size, 3)`, 0-255; for a
                model with one size, the array alone is enough.

        Returns:
            dict of `embedding`, float32 `(batch, 384)` of unit length; from models
            that write prompts `prompt`, string `(batch,)`, and `score`, float32
            `(batch,)`, see `score_name`; from models that decode words `ended`, bool
            `(batch,)`, whether the end token was written; from taggers `modifiers`,
            string `(batch,)`, separated by commas.
        """
        return self._compiled_describe(*self._in_order(images))

    def features(self, images) -> tf.Tensor:
        """Computes features for nearest neighbours: float32 `(batch, depth)`.

        Args:
            images: as in `describe`.
        """
        return self._compiled_features(*self._in_order(images))

    def answer(self, images) -> dict[str, tf.Tensor]:
        """Computes the outputs of an export's default signature, see `describe`."""
        return self.describe(images)

    def endpoints(self) -> dict[str, Callable]:
        """Returns further signatures of an export.

        Returns:
            dict from name to a function from images, as in `describe`, to a dict of
            tensors.
        """
        return {"embed": self._embed}

    def require_exportable(self) -> None:
        """Checks that the model can be exported as a graph.

        Raises:
            ValueError: if it cannot.
        """

    def quantize(self) -> None:
        """Converts the weights to 8-bit integers; call it before computing anything.

        Raises:
            ValueError: if this kind of model has no 8-bit form.
        """
        raise ValueError(f"int8 needs a language model. Received: {self.name}")

    def write_transformers(self, folder) -> None:
        """Writes the model into a folder, in the format of the library transformers.

        Raises:
            ValueError: if that library has no such model.
        """
        raise ValueError(f"--to transformers needs a Gemma 3. Received: {self.name}")

    def steps(self) -> Steps:
        """Returns the parts that a decoding loop outside TensorFlow needs.

        Raises:
            ValueError: if the model does not write word by word.
        """
        raise ValueError(f"LiteRT needs a captioner. Received: {self.name}")

    def open(self, image_bytes: Sequence[bytes]) -> dict[int, tf.Tensor]:
        """Decodes images in the sizes that `describe` needs.

        Args:
            image_bytes: encoded images.

        Returns:
            dict from size to uint8 `(batch, size, size, 3)`, 0-255.

        Raises:
            ValueError: if an image is broken; the message says which.
        """
        decoded, sound = self._open(tf.constant(image_bytes))
        broken = np.flatnonzero(~sound.numpy())
        if len(broken):
            raise ValueError(
                f"every image must be decodable. Received: number {broken[0]} of "
                f"{len(image_bytes)} is broken"
            )
        return dict(zip(self.sizes, decoded, strict=True))

    def describe_encoded(self, image_bytes: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Applies `describe` to encoded images.

        Args:
            image_bytes: encoded, intact images.

        Returns:
            As `describe`, in numpy arrays, and prompts as a list of `str`.

        Raises:
            ValueError: if an image is broken.
        """
        return to_numpy(self.describe(self.open(image_bytes)))

    def write_best(
        self, image_bytes: Sequence[bytes], count: int
    ) -> list[list[Scored]]:
        """Writes several prompts per image, if the model has several.

        Args:
            image_bytes: encoded, intact images.
            count: int > 0, largest number of prompts per image.

        Returns:
            For each image a list of distinct prompts with scores, the best first.

        Raises:
            ValueError: if an image is broken, for models that write several prompts.
        """
        return the_one_prompt(self(image_bytes))

    def reference(self, prompt: str, words: str) -> str:
        """Returns the true text to compare the model's prompts with.

        Args:
            prompt: the original prompt.
            words: its normalised words, joined by spaces.
        """
        return words

    def look(self, image, prompt: str) -> tuple[list[str], np.ndarray]:
        """Returns the attention over image regions for each word of a written prompt.

        Args:
            image: uint8 `(image_size, image_size, 3)`.
            prompt: the prompt, as the model wrote it.

        Returns:
            The words, and weights, float `(words, regions)`: each row sums to 1; the
            regions are a square grid in row-major order.

        Raises:
            ValueError: if the model has no attention, see `attends`.
        """
        raise ValueError(f"attention needs a captioner. Received: {self.name}")

    def __call__(self, image_bytes: Sequence[bytes]) -> dict[str, np.ndarray]:
        found = self.serve(tf.constant(image_bytes))
        return {name: value.numpy() for name, value in found.items()}

    def _describe(self, images: Mapping[int, tf.Tensor]) -> dict[str, tf.Tensor]:
        raise NotImplementedError

    def _features(self, images: Mapping[int, tf.Tensor]) -> tf.Tensor:
        raise NotImplementedError

    def _embed(self, images):
        return {"embedding": self.describe(images)["embedding"]}

    def _serve(self, image_bytes):
        decoded, sound = image_codec.decode_batch(image_bytes, self.sizes)
        found = self.answer(dict(zip(self.sizes, decoded, strict=True)))
        blanked = image_codec.blank(sound, *found.values())
        return dict(zip(found, blanked, strict=True))

    def _compile(self, function):
        def of_images(*images):
            return function(dict(zip(self.sizes, images, strict=True)))

        shapes = [(None, size, size, 3) for size in self.sizes]
        signature = [tf.TensorSpec(shape, tf.uint8) for shape in shapes]
        return compile_function(of_images, signature)

    def _in_order(self, images):
        if not isinstance(images, Mapping):
            images = {self.sizes[0]: images}
        return [images[size] for size in self.sizes]


def the_one_prompt(found: Mapping[str, np.ndarray]) -> list[list[Scored]]:
    """Converts `prompt` and `score` of a call to the form of `write_best`."""
    rows = zip(found["prompt"], found["score"], strict=True)
    return [[(prompt.decode(), float(score))] for prompt, score in rows]


def to_numpy(found: Mapping[str, tf.Tensor]) -> dict:
    """Converts the result of `describe` to arrays, and texts to lists of `str`."""
    found = {name: value.numpy() for name, value in found.items()}
    for name in {"prompt", "modifiers"} & found.keys():
        found[name] = [text.decode() for text in found[name]]
    return found
