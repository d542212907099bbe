"""Identifies a pretrained network by its weights."""

import hashlib

import keras
import numpy as np
from keras import ops


def fingerprint(backbone: keras.Model) -> str:
    """Computes the SHA-256 of a backbone's weights.

    Weights are hashed in bfloat16, so that the precision in which the backbone was
    loaded does not matter.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for weight in backbone.weights:
        digest.update(str(tuple(weight.shape)).encode())
        rounded = ops.convert_to_numpy(ops.cast(weight, "bfloat16"))
        digest.update(rounded.view(np.uint16).tobytes())
    return digest.hexdigest()
