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


def test_penalty_is_chosen_on_other_families(monkeypatch):
    generator = np.random.default_rng(2)
    # Families of ten with a target of their own, which says nothing of the others.
    families = np.repeat(np.arange(12), 10)
    features = np.repeat(generator.normal(size=(12, 8)), 10, axis=0)
    features = features + generator.normal(0, 0.01, size=features.shape)
    targets = np.repeat(generator.normal(size=(12, 2)), 10, axis=0)
    monkeypatch.setattr(ridge, "_ROWS_AT_ONCE", 32)
    fitted = {}
    for name, numbers in {"families": families, "rows": np.arange(120)}.items():
        kernel, bias = ridge.fit_ridge_by_family(features, targets.__getitem__, numbers)
        fitted[name] = kernel
        # As in closed form, with an unpenalised bias.
        x = features - features.mean(axis=0)
        np.testing.assert_allclose(
            features.mean(axis=0) @ kernel + bias, targets.mean(axis=0), atol=1e-5
        )
        gram, scale = x.T @ x, (x**2).sum() / 8
        wanted = [
            np.linalg.solve(gram + penalty * scale * np.eye(8), x.T @ targets)
            for penalty in ridge.FINE_PENALTIES
        ]
        distances = [np.abs(kernel - other).max() for other in wanted]
        assert min(distances) < 1e-5
    # Examples of a known family are easy, so that a small penalty is best.
    norms = {name: np.linalg.norm(kernel) for name, kernel in fitted.items()}
    assert norms["families"] < 0.2 * norms["rows"]
    with pytest.raises(ValueError, match=r"at least two families\. Received: 1"):
        ridge.fit_ridge_by_family(features, targets.__getitem__, np.zeros(120))


def test_few_examples_are_projected_first():
    generator = np.random.default_rng(3)
    features, targets = generator.normal(size=(20, 30)) + 1, generator.normal(size=20)
    targets = targets[:, None] + features[:, :1]
    found = ridge.fit_ridge_by_family(features, targets.__getitem__, np.arange(20) // 2)
    # Features of zeros change the mean square, and with it the penalties, by a power.
    wide = np.concatenate([features, np.zeros((20, 270))], axis=1)
    wanted = ridge.fit_ridge_by_family(wide, targets.__getitem__, np.arange(20) // 2)
    np.testing.assert_allclose(found[0], wanted[0][:30], atol=1e-6)
    x = features - features.mean(axis=0)
    fits = [
        np.linalg.solve(x.T @ x + p * (x**2).sum() / 30 * np.eye(30), x.T @ targets)
        for p in ridge.FINE_PENALTIES
    ]
    assert min(np.abs(found[0] - fit).max() for fit in fits) < 1e-5


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
