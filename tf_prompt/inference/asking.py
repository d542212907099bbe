"""The Python interface of CLIP interrogators."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from tf_prompt.data import images as image_codec
from tf_prompt.data.inputs import encode_images
from tf_prompt.inference.loading import Loader, load_pretrained
from tf_prompt.interrogation import interrogator
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogated
from tf_prompt.runs.run import Run


class Interrogator:
    """Ranks phrases by their CLIP similarity with images, and builds prompts of them.

    Create one with `from_run` or `from_preset`.

    Args:
        engine: `interrogation.interrogator.Interrogator`.

    Example:

    >>> interrogator = tf_prompt.Interrogator.from_run("runs/clip_interrogator_tiny")
    >>> found = interrogator.interrogate("red.jpg")
    >>> isinstance(found.prompt, str) and -1 <= found.similarity <= 1
    True
    >>> [(phrase, score), *others] = found.phrases["subjects"]
    """

    def __init__(self, engine: interrogator.Interrogator):
        self._engine = engine

    @classmethod
    def from_run(cls, run_dir: str | os.PathLike, **options) -> "Interrogator":
        """Takes the CLIP and the phrases of a run.

        Args:
            run_dir: folder of a run of a `clip_interrogator` preset.
            **options: fields of `InterrogationConfig`, such as `mode="classic"`.

        Raises:
            FileNotFoundError: if a part of the run is missing.
            ValueError: if it is the run of another model, or for a wrong option.
        """
        how = InterrogationConfig(**options)
        return cls(Loader().load_interrogator(Run(run_dir), how))

    @classmethod
    def from_preset(
        cls,
        clip: str,
        phrases: Mapping[str, Sequence[str]],
        cache_dir: str | os.PathLike,
        **options,
    ) -> "Interrogator":
        """Takes a pretrained CLIP.

        Args:
            clip: a KerasHub CLIP preset or its folder, or a folder of a transformers
                `CLIPModel`.
            phrases: by table.
            cache_dir: folder for the embeddings of the phrases.
            **options: as in `from_run`.

        Raises:
            ValueError: if there is no such CLIP within reach, or no phrase.
        """
        how = InterrogationConfig(**options)
        model, tokens = load_pretrained(clip)
        folder = pathlib.Path(cache_dir)
        return cls(interrogator.Interrogator(model, tokens, phrases, folder, how))

    def interrogate(self, image) -> Interrogated:
        """Interrogates one image.

        Args:
            image: as in `inputs.encode_images`.

        Returns:
            `prompt`, `similarity` with the picture, -1 to 1, and `phrases`: by table
            pairs of phrase and cosine, the best first.

        Raises:
            FileNotFoundError: if its path does not exist.
            ValueError: if it is no image, or several.
        """
        encoded = encode_images(image)
        if len(encoded) != 1:
            raise ValueError(f"image must be one. Received: {len(encoded)}")
        if not image_codec.is_image(encoded[0]):
            raise ValueError("image must be an image that can be decoded")
        size = self._engine.model.image_size
        picture = image_codec.decode_image(encoded[0], size)
        return self._engine(np.asarray(picture)[None])[0]
