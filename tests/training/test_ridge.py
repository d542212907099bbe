"""Ridge regression and vectors of words, by hand and by closed form."""

import numpy as np
import pytest

from tf_prompt.training import ridge
from tf_prompt.training.text_vectors import TextVectors


def test_ridge_finds_a_linear_map():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(300, 5)).astype(np.float32)
    true = generator.normal(size=(5, 3))
    targets = (features @ true + [1, 2, 3]).astype(np.float32)
    kernel, bias = ridge.fit_ridge(
        features[:200], targets[:200], features[200:], targets[200:]
    )
    np.testing.assert_allclose(kernel, true, atol=1e-2)
    np.testing.assert_allclose(bias, [1, 2, 3], atol=1e-2)


def test_penalty_is_chosen_on_other_examples(monkeypatch):
    generator = np.random.default_rng(1)
    features = generator.normal(size=(40, 30))
    targets = features[:, :2] + generator.normal(0, 2, size=(40, 2))
    others = generator.normal(size=(500, 30))
    chosen = ridge.fit_ridge(features, targets, others, others[:, :2])[0]
    monkeypatch.setattr(ridge, "PENALTIES", (1e-4,))
    least = ridge.fit_ridge(features, targets, others, others[:, :2])[0]
    # Noise on few examples wants more than the least.
    assert np.linalg.norm(chosen) < np.linalg.norm(least)


def test_prompts_of_like_words_are_near_and_common_words_count_little():
    prompts = ["a red cat", "a red dog", "a blue sky", "a blue sea", "a"]
    found = TextVectors(prompts, 4)(prompts)
    cosines = found @ found.T
    assert cosines[0, 1] > 0.1 > abs(cosines[0, 2])
    # "a" is everywhere: log(1) = 0.
    assert np.abs(found[4]).max() < 1e-6


def test_all_dimensions_keep_all_cosines():
    prompts = ["red cat", "red dog", "blue sky cat"]
    found = TextVectors(prompts, 10)(prompts)
    assert found.shape == (3, 10)
    red, rare = np.log(3 / 2), np.log(3)
    expected = red**2 / (red**2 + red**2) ** 0.5 / (red**2 + rare**2) ** 0.5
    assert found[0] @ found[1] == pytest.approx(expected, abs=1e-5)
    assert TextVectors(prompts, 10)(["unknown words"]).tolist() == [[0] * 10]
