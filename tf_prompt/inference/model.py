"""One model to ask: pictures in, prompts and embeddings out, whatever its kind."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.data import images as image_codec
from tf_prompt.data.graphs import compile_function

Scored = tuple[str, float]


class PromptModel:
    """What every command asks of a model; a subclass a kind of model.

    A subclass defines `_describe` and `_features`, both in TensorFlow. They are
    compiled once, and an export holds the same functions.

    Args:
        name: for tables, such as `vit_regressor_tiny`.
        sizes: pixels a side of the pictures it looks at, one or several.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of numpy arrays, what `answer` gives for each image. Of an image that is
        broken texts are empty and numbers NaN.

    Attributes:
        image_size: the largest of `sizes`.
        serve: `tf.function` of the call, from strings `(batch,)` to tensors.
    """

    # Whether `describe` gives `prompt` and `score`, and what that score is.
    writes_prompts = True
    score_name = "cosine"
    # Whether `look` says where the model looked for each word.
    attends = False
    # Whether `describe` predicts the embedding itself: not that of a text it wrote.
    predicts_embeddings = True
    # Whether one more signature of an export takes pixels.
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
        """Says all that the model has to say of pictures.

        Args:
            images: by size, uint8 `(batch, size, size, 3)`; of a model of one size,
                that array alone will do.

        Returns:
            dict of `embedding`, float32 `(batch, 384)` of unit length; of a model
            that writes prompts `prompt`, string `(batch,)`, and `score`, float32
            `(batch,)`, as `score_name` says; of one that writes word by word `ended`,
            bool `(batch,)`, whether it ended the prompt by itself.
        """
        return self._compiled_describe(*self._in_order(images))

    def features(self, images) -> tf.Tensor:
        """Features in which like pictures are near: float32 `(batch, depth)`.

        Args:
            images: as in `describe`.
        """
        return self._compiled_features(*self._in_order(images))

    def answer(self, images) -> dict[str, tf.Tensor]:
        """What the default signature of an export gives; as `describe`, or less."""
        return self.describe(images)

    def endpoints(self) -> dict[str, Callable]:
        """Functions of images, by size, to dicts of tensors: more signatures."""
        return {"embed": self._embed}

    def require_exportable(self) -> None:
        """Checks that a graph can hold the model.

        Raises:
            ValueError: if it cannot.
        """

    def open(self, image_bytes: Sequence[bytes]) -> dict[int, tf.Tensor]:
        """Decodes sound images in the sizes that `describe` wants.

        Raises:
            ValueError: if one is broken; says which.
        """
        decoded, sound = self._open(tf.constant(image_bytes))
        broken = np.flatnonzero(~sound.numpy())
        if len(broken):
            raise ValueError(
                f"every image must be sound. Received: number {broken[0]} of "
                f"{len(image_bytes)} is broken"
            )
        return dict(zip(self.sizes, decoded, strict=True))

    def describe_encoded(self, image_bytes: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Does `describe` for encoded images, sound ones; prompts become `str`."""
        return to_numpy(self.describe(self.open(image_bytes)))

    def write_best(
        self, image_bytes: Sequence[bytes], count: int
    ) -> list[list[Scored]]:
        """Writes several prompts of each image, where the model has several.

        Args:
            image_bytes: encoded images, sound ones.
            count: int > 0, prompts of an image at most.

        Returns:
            Of each image, distinct prompts and scores, the best first.
        """
        return the_one_prompt(self(image_bytes))

    def look(self, image, prompt: str) -> tuple[list[str], np.ndarray]:
        """Says where the model looked for each word of a prompt that it wrote.

        Args:
            image: uint8 `(image_size, image_size, 3)`.
            prompt: the text.

        Returns:
            The words, and float `(words, regions)`: weights, each row summing to
            1; the regions are a square grid, row by row.

        Raises:
            ValueError: if the model has no attention, see `attends`.
        """
        raise ValueError(f"attention goes with captioners. Received: {self.name}")

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
    """Puts `prompt` and `score` of a call into the form of `write_best`."""
    rows = zip(found["prompt"], found["score"], strict=True)
    return [[(prompt.decode(), float(score))] for prompt, score in rows]


def to_numpy(found: Mapping[str, tf.Tensor]) -> dict:
    """Turns what `describe` gave into arrays, and prompts into a list of `str`."""
    found = {name: value.numpy() for name, value in found.items()}
    if "prompt" in found:
        found["prompt"] = [prompt.decode() for prompt in found["prompt"]]
    return found
