"""Sends a frozen encoder to the workers of a cluster, as a description and weights.

Keras's own serialisation is not used: it leaves out what is set after a network is
built, such as EfficientNet-Lite's padding.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from tf_prompt.files import replacing
from tf_prompt.models.encoders import build_encoder

WEIGHTS = "encoder.npz"
# Relative to the largest number that the encoder computes from noise. Rounding stays
# below it; EfficientNet-Lite0 with other padding differed by 6.0, its largest number.
_TOLERANCE = 0.02
_SEEDS = (0, 0)


@dataclasses.dataclass(frozen=True)
class SentEncoder:
    """All that another process needs to compute an encoder's regions.

    It is small and hashable, so that a worker builds each distinct encoder once.

    Args:
        description: JSON of `build_encoder`'s first argument.
        image_size: int > 0, side of the images in pixels.
        conv_filters: as `build_encoder` takes them.
        policy: name of the Keras policy under which the encoder was built.
        augmentation: arguments of `Augmentation`, or None.
        seed: int, seed of the augmentation.
        weights: file that `send` wrote; the worker must see it at the same path.
        fingerprint: result of `fingerprint` that the rebuilt encoder must have.
    """

    description: str
    image_size: int
    conv_filters: tuple[int, ...]
    policy: str
    augmentation: tuple[float, bool, float] | None
    seed: int
    weights: str
    fingerprint: str

    def build(self, make_extract: Callable) -> Callable:
        """Rebuilds the encoder, and checks it against the one that was sent.

        Args:
            make_extract: function of encoder, image size, augmentation and seed that
                returns a function from images and seeds to regions.

        Returns:
            The result of `make_extract`.

        Raises:
            ValueError: if weights or regions differ from those of the sender.
        """
        with np.load(self.weights) as file:
            arrays = [file[str(number)] for number in range(len(file.files) - 1)]
            expected = file["regions"]
        encoder = self._rebuild()
        encoder.set_weights(arrays)
        if (found := fingerprint(encoder)) != self.fingerprint:
            raise ValueError(
                f"workers must have the encoder {self.fingerprint}. Received: {found}, "
                f"from {self.weights}"
            )
        extract = make_extract(encoder, self.image_size, self.augmentation, self.seed)
        difference = np.abs(_regions_of_noise(extract, self.image_size) - expected)
        limit = _TOLERANCE * np.abs(expected).max()
        if not difference.max() <= limit:
            raise ValueError(
                "workers must compute the features that this machine computes, within "
                f"{limit:.2g}: install the same versions. Received: a difference of "
                f"{difference.max():.2g}"
            )
        return extract

    def _rebuild(self):
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.policy)
        try:
            return build_encoder(
                json.loads(self.description), self.image_size, self.conv_filters
            )
        finally:
            keras.config.set_dtype_policy(policy)


def send(
    folder: pathlib.Path, model, augmentation, seed: int, extract: Callable
) -> SentEncoder:
    """Writes an encoder's weights into a folder that workers share.

    The file stays: another command may be using it.

    Args:
        folder: folder to write into; an existing file is kept.
        model: a model with `image_encoder`, `encoder`, `image_size` and `conv_filters`.
        augmentation: see `SentEncoder`.
        seed: see `SentEncoder`.
        extract: function from images and seeds to regions on this machine, for
            comparison.
    """
    path = (folder / WEIGHTS).resolve()
    if not path.is_file():
        arrays = {str(n): w for n, w in enumerate(model.image_encoder.get_weights())}
        regions = _regions_of_noise(extract, model.image_size)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, regions=regions, **arrays)
    return SentEncoder(
        description=json.dumps(model.encoder),
        image_size=model.image_size,
        conv_filters=tuple(model.conv_filters),
        policy=keras.config.dtype_policy().name,
        augmentation=augmentation,
        seed=seed,
        weights=os.fspath(path),
        fingerprint=fingerprint(model.image_encoder),
    )


def fingerprint(encoder) -> str:
    """Returns a digest of the values of an encoder's weights."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in encoder.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


def _regions_of_noise(extract, image_size):
    shape = (2, image_size, image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.float32(extract(images, _SEEDS))
