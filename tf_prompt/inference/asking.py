"""The Python interface of CLIP interrogators."""

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tf_prompt.data import images as image_codec
from tf_prompt.data.inputs import encode_images
from tf_prompt.inference import pretrained
from tf_prompt.inference.loading import Loader
from tf_prompt.interrogation import interrogator, presets
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogated
from tf_prompt.runs.run import Run


class Interrogator:
    """Ranks phrases by CLIP similarity with images, and builds prompts from them.

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
        """Uses the CLIP and the phrases of a run.

        Args:
            run_dir: folder of a run of a `clip_interrogator` preset.
            **options: fields of `InterrogationConfig`, such as `mode="classic"`.

        Raises:
            FileNotFoundError: if a file of the run is missing.
            ValueError: if it is a run of another model, or for an invalid option.
        """
        how = InterrogationConfig(**options)
        return cls(Loader().load_interrogator(Run(run_dir), how))

    @classmethod
    def from_preset(
        cls,
        name_or_folder: str | os.PathLike = presets.DEFAULT,
        tables: Sequence[str] | None = None,
        phrases: Iterable[str] | Mapping[str, Sequence[str]] = (),
        *,
        cache_dir: str | os.PathLike | None = None,
        half: bool | None = None,
        **options,
    ) -> "Interrogator":
        """Uses a pretrained CLIP, MetaCLIP 2 or SigLIP.

        The phrases are embedded once, which takes minutes on a CPU, and cached.

        Args:
            name_or_folder: a KerasHub preset, a preset's folder, or a folder in Hugging
                Face format.
            tables: built-in tables, some of `table_sources.NAMES`; None takes those of
                the mode, an empty sequence takes none.
            phrases: more phrases, as a dict by table; or files with one phrase per
                line, folders of such files, and `clip_interrogator`, the lists of that
                package.
            cache_dir: folder for the embeddings of the phrases; None takes one in the
                user's cache.
            half: whether to compute in half precision; None does so on GPUs where that
                is faster.
            **options: as in `from_run`.

        Raises:
            FileNotFoundError: if a file of phrases does not exist.
            ValueError: if the model is not available, for an unknown table, no phrases,
                or an invalid option.
        """
        how = InterrogationConfig(**options)
        chosen = pretrained.find_tables(tables, phrases, how.mode)
        place = os.fspath(name_or_folder)
        return cls(pretrained.load_interrogator(place, chosen, how, cache_dir, half))

    def interrogate(self, image) -> Interrogated:
        """Interrogates one image.

        Args:
            image: a path, the bytes of a file, a PIL image, or a uint8 array or tensor
                `(height, width, 3)`, 0-255.

        Returns:
            `Interrogated`: `prompt`; `similarity` with the image, -1 to 1; and
            `phrases`, a dict from table to pairs of phrase and cosine, best first.

        Raises:
            FileNotFoundError: if the path does not exist.
            ValueError: if it is not an image, or if there are several.
        """
        encoded = encode_images(image)
        if len(encoded) != 1:
            raise ValueError(f"image must be one image. Received: {len(encoded)}")
        if not image_codec.is_image(encoded[0]):
            raise ValueError("image must be a decodable image")
        pixels = self._engine.decode(encoded[0])
        return self._engine(np.asarray(pixels)[None])[0]
