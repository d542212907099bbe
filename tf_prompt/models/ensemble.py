"""The weighted mean of several models' embeddings: the report's last step."""

import keras
import numpy as np
from keras import ops

from tf_prompt.layers.arguments import check_positive

_EPSILON = 1e-12


@keras.saving.register_keras_serializable(package="tf_prompt")
class Ensemble(keras.Model):
    """Combines the embeddings of several models into one.

    By default the result is the weighted mean. With `stacking`, a matrix maps the
    concatenated embeddings to one; until it is fitted, it also gives the mean.

    Args:
        members: names of 1-8 models, in the order of the input's axis.
        member_weights: one non-negative float per member, summing to 1, the initial
            weights. None weights all equally.
        embedding_dim: int > 0, width of the embeddings.
        normalise: whether to normalise each embedding first.
        stacking: whether to use a matrix and a bias instead of the weights.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        embeddings: float tensor `(batch, members, embedding_dim)`.

    Returns:
        float `(batch, embedding_dim)`, rows of unit length.

    Raises:
        ValueError: if the members or weights are not as above.

    Reference: Patel et al., the report's conclusion: 0.25 x CLIP interrogator +
    0.75 x ViT. Normalisation and stacking are from the competition's leaders.
    """

    def __init__(
        self,
        members,
        member_weights=None,
        embedding_dim=384,
        normalise=True,
        stacking=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(embedding_dim=embedding_dim)
        self.members = tuple(members)
        self.member_weights = _check_weights(self.members, member_weights)
        self.embedding_dim = embedding_dim
        self.normalise = normalise
        self.stacking = stacking
        self.build((None, len(self.members), embedding_dim))

    def build(self, input_shape):
        if self.built:
            return
        initial = np.array(self.member_weights, np.float32)
        if self.stacking:
            blocks = np.kron(initial[:, None], np.eye(self.embedding_dim))
            self.kernel = self._add("kernel", blocks.astype(np.float32))
            self.bias = self._add("bias", np.zeros(self.embedding_dim, np.float32))
        else:
            self.mixing = self._add("mixing", initial)
        super().build(input_shape)

    def _add(self, name, value):
        def initialise(shape, dtype=None):
            return ops.convert_to_tensor(value, dtype)

        return self.add_weight(name=name, shape=value.shape, initializer=initialise)

    def call(self, embeddings):
        if self.normalise:
            embeddings = _unit_length(embeddings)
        if self.stacking:
            joined = ops.reshape(embeddings, (-1, self.kernel.shape[0]))
            result = ops.matmul(joined, self.kernel) + self.bias
        else:
            # A gradient step may leave the simplex; the mean never does.
            weights = ops.relu(self.mixing)
            weights = weights / ops.maximum(ops.sum(weights), 1e-6)
            result = ops.einsum("bmd,m->bd", embeddings, weights)
        return _unit_length(result)

    def set_mixing(self, member_weights) -> None:
        """Sets the weights of the mean.

        Args:
            member_weights: one non-negative float per member, summing to 1.

        Raises:
            ValueError: if they are not, or the model stacks.
        """
        if self.stacking:
            raise ValueError("member_weights need stacking=False. Received: True")
        self.mixing.assign(_check_weights(self.members, member_weights))

    def set_stacking(self, kernel, bias) -> None:
        """Sets the matrix and the bias of stacking.

        Args:
            kernel: float `(members * embedding_dim, embedding_dim)`; the rows of a
                member follow those of the member before it.
            bias: float `(embedding_dim,)`.

        Raises:
            ValueError: if the shapes differ, or the model does not stack.
        """
        if not self.stacking:
            raise ValueError("kernel and bias need stacking=True. Received: False")
        shapes = np.shape(kernel), np.shape(bias)
        if shapes != (tuple(self.kernel.shape), tuple(self.bias.shape)):
            raise ValueError(
                f"kernel and bias must be {tuple(self.kernel.shape)} and "
                f"{tuple(self.bias.shape)}. Received: {shapes[0]} and {shapes[1]}"
            )
        self.kernel.assign(kernel)
        self.bias.assign(bias)

    def get_build_config(self):
        # The constructor has built the model.
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "members": self.members,
            "member_weights": self.member_weights,
            "embedding_dim": self.embedding_dim,
            "normalise": self.normalise,
            "stacking": self.stacking,
        }


def _unit_length(x):
    # In float32: the square of 1e-4 is 0 in float16.
    x32 = ops.cast(x, "float32")
    squares = ops.sum(ops.square(x32), axis=-1, keepdims=True)
    return ops.cast(x32 * ops.rsqrt(ops.maximum(squares, _EPSILON**2)), x.dtype)


def _check_weights(members, weights):
    if not members:
        raise ValueError("`members` must name at least one model. Received: none")
    if weights is None:
        return (1 / len(members),) * len(members)
    weights = tuple(float(w) for w in weights)
    sound = len(weights) == len(members) and min(weights) >= 0
    # Written so that NaN is refused.
    if not sound or not abs(sum(weights) - 1) <= 1e-4:
        raise ValueError(
            f"`member_weights` must be {len(members)} numbers, not negative, that sum "
            f"to 1. Received: {weights}"
        )
    return weights
