"""An exported model as a function; needs TensorFlow alone, not Keras.

Keras and KerasHub take seconds to import, and `predict --saved-model` does without.
"""

import pathlib

import tensorflow as tf

SIGNATURE = "serving_default"


class SavedPromptWriter:
    """A SavedModel that `export` wrote, as a function of image bytes.

    Args:
        path: a version's folder.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of `prompt`, bytes `(batch,)`, and `score`, float32 `(batch,)`, numpy.

    Raises:
        FileNotFoundError: if there is no SavedModel.
        ValueError: if it has no signature of ours.
    """

    is_thread_safe = True

    def __init__(self, path: str | pathlib.Path):
        path = pathlib.Path(path)
        if not (path / "saved_model.pb").is_file():
            raise FileNotFoundError(
                f"saved_model must be a version's folder, with saved_model.pb. "
                f"Received: {path}"
            )
        # The signature alone does not keep the model's variables alive.
        self._loaded = tf.saved_model.load(path)
        self._signature = self._loaded.signatures.get(SIGNATURE)
        inputs = self._signature and self._signature.structured_input_signature[1]
        if not inputs or "image_bytes" not in inputs:
            raise ValueError(
                f"saved_model must take `image_bytes` in {SIGNATURE}. Received: {path}"
            )

    def __call__(self, image_bytes) -> dict:
        written = self._signature(image_bytes=tf.constant(image_bytes))
        return {name: value.numpy() for name, value in written.items()}
