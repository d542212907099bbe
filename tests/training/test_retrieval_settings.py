import types

import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.training.retrieval_settings import choose_settings, score_families

CHOICES = {
    "text_weight": (0.0, 1.0),
    "style_weight": (0.0, 2.0),
    "num_neighbours": (1, 3),
    "sharpness": (1.0, 100.0),
}


NO_STYLE = np.zeros((1, 0), np.float32)


def test_the_majority_is_asked_where_the_nearest_is_wrong():
    # The nearest says "a cat", the next two agree with the truth.
    rows = np.array([[1, 0, 0], [0.98, 0.2, 0], [0.98, 0.2, 0]], np.float16)
    prompts = ["a cat", "a red dog sits here", "a red dog sits"]
    queries = np.array([[1, 0]], np.float32), np.array([[1]], np.float32), NO_STYLE
    found = choose_settings(rows, prompts, queries, ["a red dog sits"], [1], CHOICES)
    assert found["num_neighbours"] == 3 and found["sharpness"] == 1


def test_words_count_where_features_do_not_tell():
    rows = np.array([[1, 0, 1, 0], [1, 0, 0, 1]], np.float16)
    queries = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32), NO_STYLE
    found = choose_settings(
        rows, ["a cat", "an owl"], queries, ["an owl"], [1], CHOICES
    )
    assert found["text_weight"] == 1


def test_style_counts_where_features_and_words_do_not_tell():
    rows = np.array([[1, 0, 1, 1, 0], [1, 0, 1, 0, 1]], np.float16)
    queries = ([[1, 0]], [[1]], [[0, 1]])
    queries = [np.array(part, np.float32) for part in queries]
    found = choose_settings(
        rows, ["a cat", "an owl"], queries, ["an owl"], [1], CHOICES
    )
    assert found["style_weight"] == 2


def test_a_short_wrong_prompt_is_not_better_than_one_with_more_right_words():
    # A sentence's BLEU with an added one is 0.49 of the short, 0.40 of the other.
    rows = np.array([[1, 0, 1, 0], [0.9, 0.4, 0, 1]], np.float16)
    queries = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32), NO_STYLE
    prompts = ["dog by x", "dog by ann x y z"]
    found = choose_settings(rows, prompts, queries, ["dog by ann lee"], [1], CHOICES)
    assert found["text_weight"] == 1


def test_of_equals_the_first_is_taken():
    rows = np.array([[1, 0]], np.float16)
    queries = np.array([[1]], np.float32), np.array([[1]], np.float32), NO_STYLE
    found = choose_settings(rows, ["a cat"], queries, ["a cat"], [1], CHOICES)
    assert set(found) == set(CHOICES)
    assert all(found[name] == values[0] for name, values in CHOICES.items())


def test_a_large_family_counts_as_one():
    # Words lead two images of one family to the truth, and mislead that of another.
    rows = np.array([[1, 0, 1, 0], [0.9, 0.4, 0, 1]], np.float16)
    features = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    words = np.array([[0, 1], [0, 1], [0, 1]], np.float32)
    style = np.zeros((3, 0), np.float32)
    true = ["an owl", "an owl", "a cat sits"]
    prompts = ["a cat sits", "an owl"]
    for families, weight in (([1, 2, 3], 1), ([1, 1, 3], 0)):
        found = choose_settings(
            rows, prompts, (features, words, style), true, families, CHOICES
        )
        assert found["text_weight"] == weight


def test_each_family_has_the_same_weight_in_the_scores():
    # It writes what features say: right, right and wrong.
    def weigh(features):
        texts = tf.gather(["a cat sits here", "an owl"], tf.cast(features, tf.int32))
        return texts, tf.ones_like(features)

    model = types.SimpleNamespace(weigh=weigh)
    features, true = np.array([[0], [0], [1]], np.float32), ["a cat sits here"] * 3
    right = 100 * (1 - 0.5 / 4**3)
    for families, wanted in (([1, 1, 2], right / 2), ([1, 2, 3], 2 * right / 3)):
        bleu, meteor = score_families(model, features, true, families)
        assert meteor == pytest.approx(wanted)
        assert 0 < bleu < 100
    assert score_families(model, features[:2], true, [1, 1])[0] == pytest.approx(100)
