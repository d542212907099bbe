import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tf_prompt.data import transforms
from tf_prompt.data.text import END_ID, SPECIAL_TOKENS, START_ID, UNK_ID

VOCABULARY = [*SPECIAL_TOKENS, "red", "cat"]


def test_look_up_words():
    example = {"words": tf.constant(["red", "dog", "cat"])}
    for output in checks.outputs_of(transforms.look_up_words(VOCABULARY, 30), example):
        np.testing.assert_array_equal(output["token_ids"], [4, UNK_ID, 5])


@pytest.mark.parametrize("max_words, kept", [(2, [4, 5]), (3, [4, 5, 4])])
def test_long_prompts_lose_their_tail(max_words, kept):
    example = {"words": tf.constant(["red", "cat", "red"])}
    transform = transforms.look_up_words(VOCABULARY, max_words)
    for output in checks.outputs_of(transform, example):
        np.testing.assert_array_equal(output["token_ids"], kept)


def test_loss_starts_at_the_first_word_and_ends_with_the_end_token():
    example = {"image": tf.zeros((2, 2, 3)), "token_ids": tf.constant([7, 8])}
    for inputs, targets in checks.outputs_of(transforms.pose_task, example):
        np.testing.assert_array_equal(inputs["token_ids"], [START_ID, 7, 8])
        np.testing.assert_array_equal(targets, [7, 8, END_ID])


def test_decode_pixels_resizes():
    picture = np.full((8, 8, 3), 200, np.uint8)
    example = {"image": tf.io.encode_png(picture)}
    for output in checks.outputs_of(transforms.decode_pixels(4), example):
        np.testing.assert_array_equal(output["image"], np.full((4, 4, 3), 200))


def test_weights_make_the_mean_loss_a_mean_over_words():
    targets = tf.constant([[7, 8, END_ID], [7, END_ID, 0]])
    _, _, weights = transforms.weigh_words({}, targets)
    weights = weights.numpy()
    losses = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 600.0]])
    assert (losses * weights).mean() == pytest.approx((1 + 2 + 3 + 4 + 5) / 5)


def test_weights_hold_over_any_shares_of_the_batch():
    """Two replicas with other numbers of words: the mean of their means."""
    targets = tf.constant([[7, 8, END_ID], [7, END_ID, 0]])
    _, _, weights = transforms.weigh_words({}, targets)
    weights = weights.numpy()
    losses = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 600.0]])
    shares = [(losses[i] * weights[i]).mean() for i in range(2)]
    assert np.mean(shares) == pytest.approx((1 + 2 + 3 + 4 + 5) / 5)


def test_join_reference():
    example = {"image": 0, "image_id": "a", "words": tf.constant(["a", "red", "cat"])}
    for output in checks.outputs_of(transforms.join_reference, example):
        assert output["reference"].numpy() == b"a red cat"
