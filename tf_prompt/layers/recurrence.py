"""Weights of a loop over words, with the gradient as one product for all words."""

import keras
from keras import ops

# JAX computes a gradient of one's own before the loop has run, and PyTorch calls it
# with other arguments.
DEFERS = keras.config.backend() == "tensorflow"


class DeferredProduct:
    """Takes the gradient of a kernel out of the backward pass of a loop.

    Inside a loop, the gradient of `x @ kernel` with respect to the kernel costs a
    product and a sum of the kernel's size for every word. Here the loop multiplies by
    a constant copy of the kernel; the gradients of all products come out stacked, and
    a single product with all inputs gives the kernel's gradient. With backends other
    than TensorFlow the loop multiplies by the kernel itself.

    Usage: pass the terms that the loop adds to the products, one row per word, through
    `attach`; run the loop with `frozen`; then pass the loop's inputs to `record`.

    Args:
        kernel: float tensor `(inputs, outputs)`.

    Attributes:
        frozen: `kernel`, on TensorFlow a constant for the backward pass.
    """

    def __init__(self, kernel):
        self.kernel = kernel
        self.frozen = ops.stop_gradient(kernel) if DEFERS else kernel
        self._inputs = None

    def attach(self, addends):
        """Passes on the terms added to the products, `(tokens, batch, outputs)`."""
        if not DEFERS:
            return addends

        @ops.custom_gradient
        def attached(addends, kernel):
            def gradient(upstream):
                inputs = ops.reshape(self._inputs, (-1, kernel.shape[0]))
                flat = ops.reshape(upstream, (-1, kernel.shape[1]))
                return upstream, ops.matmul(ops.transpose(inputs), flat)

            return addends, gradient

        return attached(addends, self.kernel)

    def record(self, inputs):
        """Records the inputs of the loop's products, `(tokens, batch, inputs)`."""
        self._inputs = ops.stop_gradient(inputs)
