import keras
import numpy as np
import pytest

from tests import checks
from tf_prompt.layers.augmentation import Augmentation, RandomFlip


def pictures(batch=64):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (batch, 16, 16, 3)).astype("uint8")


def test_config_holds_every_argument():
    checks.check_config(Augmentation(10.0, True, 0.5))


def test_does_nothing_outside_training():
    output = Augmentation(30.0, True, 1.0)(pictures(), training=False)
    np.testing.assert_array_equal(output, pictures())


def test_does_nothing_when_switched_off():
    np.testing.assert_array_equal(Augmentation()(pictures(), training=True), pictures())


def test_flip_mirrors_about_half():
    images = pictures()
    output = np.asarray(Augmentation(flip=True)(images, training=True))
    mirrored = (output == images[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (output == images).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 16 <= mirrored.sum() <= 48


def test_flip_equals_keras():
    ours, theirs = (
        layer("horizontal", seed=3) for layer in (RandomFlip, keras.layers.RandomFlip)
    )
    for images in (pictures(), pictures().astype("float32")):
        found, expected = (f(images, training=True) for f in (ours, theirs))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_rotation_turns_by_no_more_than_asked():
    images = np.zeros((200, 33, 33, 3), "float32")
    images[:, 16, 32] = 255  # the middle of the right edge
    output = np.asarray(Augmentation(rotation_degrees=10.0)(images, training=True)).max(
        axis=-1
    )
    rows = np.arange(33) - 16
    for picture in output:
        right = picture[:, 25:].sum(axis=1)
        if right.sum() > 20:
            degrees = np.degrees(np.arctan2((rows * right).sum() / right.sum(), 16))
            assert abs(degrees) <= 12
    assert (output != images.max(axis=-1)).any()


def test_erasing_takes_one_rectangle_of_the_stated_size():
    images = np.full((100, 40, 40, 3), 255, "uint8")
    output = np.asarray(Augmentation(erasing_rate=1.0)(images, training=True))
    share = (output[..., 0] != 255).mean(axis=(1, 2))
    assert (output[output != 255] == 127.5).all()
    # Whole pixels: a side may gain or lose one.
    assert share.min() > 0.01 and share.max() < 0.14


def test_erasing_rate_is_the_share_of_pictures():
    images = np.full((400, 16, 16, 3), 255, "uint8")
    output = np.asarray(Augmentation(erasing_rate=0.25)(images, training=True))
    assert 0.17 < (output != 255).any(axis=(1, 2, 3)).mean() < 0.33


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"rotation_degrees": -1}, "rotation_degrees=-1"),
        ({"erasing_rate": 1.5}, "erasing_rate=1.5"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"Received: {message}"):
        Augmentation(**arguments)
