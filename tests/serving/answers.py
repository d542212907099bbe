"""Answers every signature of SavedModels; a script for any TensorFlow, without ours.

python answers.py IMAGES.npz ANSWERS.npz SAVED_MODEL...
"""

import sys

if __name__ == "__main__":
    # A server has no Keras; TensorFlow imports it where it finds one.
    sys.modules["keras"] = None

import numpy as np
import tensorflow as tf


def answer(path, image_bytes) -> dict[str, np.ndarray]:
    """Calls each signature of a SavedModel as a server does, by names alone.

    Args:
        path: folder of one version.
        image_bytes: encoded images, for the signatures that take such.

    Returns:
        By `signature/output`. Texts are arrays of bytes, so that they need no pickle.
    """
    loaded = tf.saved_model.load(str(path))
    answers = {}
    for name, signature in loaded.signatures.items():
        ((argument, spec),) = signature.structured_input_signature[1].items()
        value = list(image_bytes)
        if spec.dtype != tf.string:
            shape = (len(value), *spec.shape[1:])
            value = np.random.default_rng(0).integers(0, 256, shape)
        found = signature(**{argument: tf.constant(value, spec.dtype)})
        for output, tensor in found.items():
            array = tensor.numpy()
            answers[f"{name}/{output}"] = (
                array.astype(bytes) if array.dtype == object else array
            )
    return answers


if __name__ == "__main__":
    images = [row.tobytes() for row in np.load(sys.argv[1]).values()]
    found = {
        f"{path}:{name}": array
        for path in sys.argv[3:]
        for name, array in answer(path, images).items()
    }
    np.savez(sys.argv[2], version=np.array(tf.__version__), **found)
