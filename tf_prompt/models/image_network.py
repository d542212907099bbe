"""A network from images to features that takes an empty batch, too."""

import keras
from keras import ops


class ImageNetwork(keras.Model):
    """A functional model whose convolutions never see an empty batch.

    Under several replicas the last batch of an epoch may leave nothing for one of them.
    TensorFlow 2.21's oneDNN convolution on CPUs then returns the shape of its input,
    and what follows fails.
    """

    def call(self, inputs, training=None, mask=None):
        """Returns the features of images.

        Args:
            inputs: float `(batch, height, width, 3)`; the batch may be empty.
            training: bool.
            mask: ignored.

        Returns:
            Float `(batch, ...)`, what the functional model returns.
        """
        if inputs.shape[0] or isinstance(inputs, keras.KerasTensor):
            return super().call(inputs, training=training)
        size = ops.shape(inputs)[0]
        # Neither copies anything unless the batch is empty.
        one_or_more = ops.pad(inputs, [[0, ops.maximum(1 - size, 0)], *[[0, 0]] * 3])
        return super().call(one_or_more, training=training)[:size]
