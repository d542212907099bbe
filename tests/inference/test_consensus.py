"""Sentence BLEU in a graph: by hand, and against NLTK."""

import nltk.translate.bleu_score as nltk_bleu
import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.inference.consensus import expected_bleu, sentence_bleu


def test_sentence_bleu_is_nltk_s_with_an_added_one():
    generator = np.random.default_rng(0)
    texts = [
        " ".join(generator.choice(list("abcde"), size=generator.integers(4, 12)))
        for _ in range(12)
    ]
    smooth = nltk_bleu.SmoothingFunction().method2
    expected = [
        [
            nltk_bleu.sentence_bleu([true.split()], text.split(), (0.25,) * 4, smooth)
            for true in texts
        ]
        for text in texts
    ]
    found = sentence_bleu(tf.constant(texts)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_short_texts_by_hand():
    found = sentence_bleu(tf.constant(["a cat", "a cat", "dog", ""])).numpy()
    # A text of no four words has all of the runs that it can have.
    assert found[0, 1] == pytest.approx(1) and found[2, 2] == pytest.approx(1)
    assert found[0, 2] == found[2, 0] == found[3, 0] == found[3, 3] == 0
    # "a" once in "a a a": one of three; (0+1)/(2+1), (0+1)/(1+1), 1, no brevity.
    repeated = sentence_bleu(tf.constant(["a a a", "a"])).numpy()
    assert repeated[0, 1] == pytest.approx((1 / 3 * 1 / 3 * 1 / 2) ** 0.25)


def test_expected_bleu_weighs_the_true_texts():
    texts = tf.constant([["a red cat", "a red cat", "snow"], ["x", "y", "y"]])
    weights = tf.constant([[0.3, 0.3, 0.4], [0.6, 0.2, 0.2]])
    found = expected_bleu(texts, weights).numpy()
    np.testing.assert_allclose(found, [[0.6, 0.6, 0.4], [0.6, 0.4, 0.4]], atol=1e-6)
