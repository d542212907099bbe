"""Augmentation of training images, on the device that trains."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tf_prompt")
class Augmentation(keras.layers.Layer):
    """Rotates, mirrors and partly erases images; does nothing outside of training.

    Args:
        rotation_degrees: float >= 0. Each image is rotated by a random angle of up to
            plus or minus this many degrees; corners repeat the nearest pixels.
        flip: bool, whether half of the images are mirrored left to right.
        erasing_rate: float in [0, 1], share of images of which a rectangle of 2 to
            10 % of the area becomes grey.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        images: tensor `(batch, height, width, 3)`, 0-255, integer or float.

    Returns:
        float tensor of the same shape, 0-255.

    Reference: random erasing, Zhong et al., 2017, https://arxiv.org/abs/1708.04896.
    """

    def __init__(self, rotation_degrees=0.0, flip=False, erasing_rate=0.0, **kwargs):
        super().__init__(**kwargs)
        if rotation_degrees < 0:
            raise ValueError(
                "`rotation_degrees` must not be negative. "
                f"Received: rotation_degrees={rotation_degrees}"
            )
        if not 0 <= erasing_rate <= 1:
            raise ValueError(
                "`erasing_rate` must be in [0, 1]. "
                f"Received: erasing_rate={erasing_rate}"
            )
        self.rotation_degrees = rotation_degrees
        self.flip = flip
        self.erasing_rate = erasing_rate
        self.steps = list(self._new_steps())

    def _new_steps(self):
        dtype = self.dtype_policy
        if self.rotation_degrees:
            yield keras.layers.RandomRotation(
                self.rotation_degrees / 360, fill_mode="nearest", dtype=dtype
            )
        if self.flip:
            yield RandomFlip("horizontal", dtype=dtype)
        if self.erasing_rate:
            # A pair, because a single number would be the upper end of a range.
            yield keras.layers.RandomErasing(
                (self.erasing_rate, self.erasing_rate),
                scale=(0.02, 0.1),
                fill_value=127.5,
                value_range=(0, 255),
                dtype=dtype,
            )

    def build(self, images_shape):
        for step in self.steps:
            step.build(images_shape)

    def call(self, images, training=None):
        if training:
            for step in self.steps:
                images = step(images, training=True)
        return ops.cast(images, self.compute_dtype)

    def compute_output_shape(self, images_shape):
        return images_shape

    def get_config(self):
        return {
            **super().get_config(),
            "rotation_degrees": self.rotation_degrees,
            "flip": self.flip,
            "erasing_rate": self.erasing_rate,
        }


class RandomFlip(keras.layers.RandomFlip):
    """Keras' flip left to right, but it copies whole images before they become floats.

    Keras chooses between two floats for each number of a batch, which takes longer.

    Call arguments:
        images: tensor `(batch, height, width, 3)`, integer or float.

    Returns:
        float tensor of the same shape.
    """

    def transform_images(self, images, transformation, training=True):
        if not training:
            return ops.cast(images, self.compute_dtype)
        mirrored = ops.cast(transformation["flips"][:, 0, 0, 0], "int32")
        batch = ops.shape(images)[0]
        both = ops.concatenate([images, ops.flip(images, axis=2)])
        chosen = ops.take(both, ops.arange(batch) + batch * mirrored, axis=0)
        return ops.cast(chosen, self.compute_dtype)
