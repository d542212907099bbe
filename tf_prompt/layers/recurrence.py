"""Weights of a loop over words, whose gradient is one product and not one a word."""

from keras import ops


class DeferredProduct:
    """Lets the backward pass of a loop leave out the gradient of a kernel.

    Inside a loop, the gradient of `x @ kernel` with respect to the kernel costs a
    product and a sum as large as the kernel at every word. Here the loop multiplies
    by a kernel that counts as a constant; the gradients of all its products come
    out stacked, and one product with all inputs makes the kernel's gradient.

    Use: hand what is added to the products, one row a word, through `attach`; run
    the loop with `frozen`; then give the inputs that it saw to `record`.

    Args:
        kernel: float tensor `(inputs, outputs)`.

    Attributes:
        frozen: `kernel`, a constant for the backward pass.
    """

    def __init__(self, kernel):
        self.kernel = kernel
        self.frozen = ops.stop_gradient(kernel)
        self._inputs = None

    def attach(self, addends):
        """Hands on what the loop adds to its products: `(tokens, batch, outputs)`."""

        @ops.custom_gradient
        def attached(addends, kernel):
            def gradient(upstream):
                inputs = ops.reshape(self._inputs, (-1, kernel.shape[0]))
                flat = ops.reshape(upstream, (-1, kernel.shape[1]))
                return upstream, ops.matmul(ops.transpose(inputs), flat)

            return addends, gradient

        return attached(addends, self.kernel)

    def record(self, inputs):
        """Notes the inputs of the loop's products: `(tokens, batch, inputs)`."""
        self._inputs = ops.stop_gradient(inputs)
