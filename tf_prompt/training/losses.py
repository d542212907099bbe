"""What training makes small: the loss of words, the distance of embeddings."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tf_prompt")
class WordLoss(keras.losses.Loss):
    """The loss that a captioner computed of each word by itself.

    Call arguments:
        y_true: int `(batch, tokens)`, which the captioner has seen already.
        y_pred: float `(batch, tokens, 2)`, loss and hit of each word.
    """

    def call(self, y_true, y_pred):
        return y_pred[..., 0]


@keras.saving.register_keras_serializable(package="tf_prompt")
class CosineDistance(keras.losses.Loss):
    """One minus the cosine, plus a share of the mean squared error.

    The cosine alone leaves the length of the prediction free.

    Args:
        mse_weight: float >= 0. Share of the mean squared error.
        **kwargs: passed to `keras.losses.Loss`.

    Call arguments:
        y_true: float `(batch, dim)`.
        y_pred: float `(batch, dim)`.
    """

    def __init__(self, mse_weight=0.0, name="cosine_distance", **kwargs):
        super().__init__(name=name, **kwargs)
        self.mse_weight = mse_weight

    def call(self, y_true, y_pred):
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        distance = 1 + keras.losses.cosine_similarity(y_true, y_pred)
        if self.mse_weight:
            distance += self.mse_weight * ops.mean((y_true - y_pred) ** 2, axis=-1)
        return distance

    def get_config(self):
        return {**super().get_config(), "mse_weight": self.mse_weight}


def build_loss(name: str) -> keras.losses.Loss:
    """Gives the loss that `--loss` names.

    Args:
        name: `mse`, as Patel et al.; `cosine`, the competition's metric; or
            `cosine_mse`, cosine with 0.01 of the squared error.
    """
    if name == "mse":
        return keras.losses.MeanSquaredError()
    return CosineDistance(0.01 if name == "cosine_mse" else 0.0)
