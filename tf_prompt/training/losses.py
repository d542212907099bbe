"""Losses and metrics of training: for words, embeddings and image-text pairs."""

import keras
from keras import ops

from tf_prompt.data.text import PAD_ID

# Smaller than any logit, and finite in float32.
_NEVER = -1e9


@keras.saving.register_keras_serializable(package="tf_prompt")
class WordLoss(keras.losses.Loss):
    """Passes on the loss of each word, which the captioner itself computes.

    Call arguments:
        y_true: int `(batch, tokens)`, not used, because the captioner has them.
        y_pred: float `(batch, tokens, 2)`, loss and hit of each word.

    Returns:
        float `(batch, tokens)`, or its mean.
    """

    def call(self, y_true, y_pred):
        return y_pred[..., 0]


@keras.saving.register_keras_serializable(package="tf_prompt")
class CosineDistance(keras.losses.Loss):
    """One minus the cosine, plus a weighted mean squared error.

    The cosine alone does not constrain the length of the prediction.

    Args:
        mse_weight: float >= 0, weight of the mean squared error.
        **kwargs: passed to `keras.losses.Loss`.

    Call arguments:
        y_true: float `(batch, dim)`.
        y_pred: float `(batch, dim)`.

    Returns:
        float32 `(batch,)`, or its mean.
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


@keras.saving.register_keras_serializable(package="tf_prompt")
class AsymmetricLoss(keras.losses.Loss):
    """Cross-entropy for many labels, most of them absent, without easy absences.

    Args:
        gamma_positive: float >= 0. Focusing exponent for present labels: the larger,
            the less those count that are already predicted with confidence.
        gamma_negative: float >= 0. The same for absent labels.
        margin: float in [0, 1). Probability below which an absent label has no loss.
        **kwargs: passed to `keras.losses.Loss`.

    Call arguments:
        y_true: `(batch, labels)`, 0 or 1.
        y_pred: float `(batch, labels)`, logits.

    Returns:
        float `(batch,)`, or its mean.

    Reference: Ridnik et al., 2021, https://arxiv.org/abs/2009.14119, eqs. 4-6.
    """

    def __init__(
        self,
        gamma_positive=0.0,
        gamma_negative=4.0,
        margin=0.05,
        name="asymmetric_loss",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.margin = margin

    def call(self, y_true, y_pred):
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        present = ops.sigmoid(y_pred)
        shifted = ops.maximum(present - self.margin, 0)
        positive = (1 - present) ** self.gamma_positive * ops.log_sigmoid(y_pred)
        # For a probability that rounds to 1, the logarithm would be infinite.
        absent = ops.log(ops.maximum(1 - shifted, 1e-8))
        negative = shifted**self.gamma_negative * absent
        return -ops.sum(y_true * positive + (1 - y_true) * negative, axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "gamma_positive": self.gamma_positive,
            "gamma_negative": self.gamma_negative,
            "margin": self.margin,
        }


def build_loss(name: str) -> keras.losses.Loss:
    """Builds the loss that `--loss` names.

    Args:
        name: `mse`, as in Patel et al.; `cosine`, the competition's metric; or
            `cosine_mse`, the cosine plus 0.01 times the squared error.
    """
    if name == "mse":
        return keras.losses.MeanSquaredError()
    return CosineDistance(0.01 if name == "cosine_mse" else 0.0)


@keras.saving.register_keras_serializable(package="tf_prompt")
class TokenAccuracy(keras.metrics.Mean):
    """Share of words and end tokens that are predicted correctly.

    Keras' own accuracy would weight words by `sample_weight`, in which a word of a
    short batch counts more than one of a long batch.

    Call arguments:
        y_true: int tensor `(batch, tokens)`; `PAD_ID` is not a target.
        y_pred: float tensor `(batch, tokens, 2)`, loss and hit of each word, as a
            captioner returns them for `target_ids`.
    """

    def __init__(self, name="token_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        mask = ops.cast(ops.not_equal(y_true, PAD_ID), "float32")
        return super().update_state(y_pred[..., 1], sample_weight=mask)


@keras.saving.register_keras_serializable(package="tf_prompt")
class ContrastiveLoss(keras.losses.Loss):
    """Contrastive loss of images and texts within a batch.

    The mean of two cross-entropies: of each image over all texts, and of each text
    over all images. Pairs with equal texts are not used as negatives for each other.
    With several replicas, each compares within its share of the batch.

    Call arguments:
        y_true: int `(batch, tokens)`, the `token_ids`; equal rows are equal texts.
        y_pred: float `(batch, batch)`, logits with the true pairs on the diagonal.

    Returns:
        float32 `(batch,)`, or its mean.

    Reference: Radford et al., 2021, https://arxiv.org/abs/2103.00020, section 2.3
    and figure 3.
    """

    def __init__(self, name="contrastive_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        logits = hide_equals(y_true, ops.cast(y_pred, "float32"))
        own = ops.arange(ops.shape(logits)[0])
        of_images = keras.losses.sparse_categorical_crossentropy(
            own, logits, from_logits=True
        )
        # Equality is symmetric, so the same pairs are hidden in the transpose.
        of_texts = keras.losses.sparse_categorical_crossentropy(
            own, ops.transpose(logits), from_logits=True
        )
        return (of_images + of_texts) / 2


def hide_equals(token_ids, logits):
    """Masks the logits of pairs with equal texts.

    Args:
        token_ids: int `(batch, tokens)`.
        logits: float32 `(batch, batch)`.

    Returns:
        float32 `(batch, batch)`, the logits, with a very low value off the diagonal
        where two texts are equal.
    """
    same = ops.all(token_ids[:, None] == token_ids[None, :], axis=-1)
    others = ~ops.eye(ops.shape(logits)[0], dtype="bool")
    return ops.where(ops.logical_and(same, others), _NEVER, logits)


@keras.saving.register_keras_serializable(package="tf_prompt")
class ContrastiveAccuracy(keras.metrics.Mean):
    """Share of images for which their own text scores highest in the batch.

    It depends on the batch size: compare only runs with the same one.
    """

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch, see `ContrastiveLoss`."""
        logits = hide_equals(y_true, ops.cast(y_pred, "float32"))
        own = ops.arange(ops.shape(logits)[0])
        right = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), own)
        super().update_state(ops.cast(right, "float32"), sample_weight)
