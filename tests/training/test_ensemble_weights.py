import json

import numpy as np
import pytest

from tf_prompt.data import vectors
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.training import ensemble_comparison, ensemble_weights


def orthogonal_members(shares):
    """Members along the axes, and a target whose coordinates are the shares.

    The cosine of a mean with the target is highest where the mean points along it,
    so that the weights are the shares, scaled to sum to 1.
    """
    shares = np.asarray(shares, float)
    return np.eye(len(shares))[None], shares[None] / np.linalg.norm(shares)


def draw(examples=400, members=3, dim=12, noise=(0.6, 1.0, 1.5), seed=0):
    """Targets, and members that see them through noise of their own."""
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(examples, dim))
    noises = rng.normal(size=(examples, members, dim)) * np.reshape(noise, (1, -1, 1))
    return targets[:, None] + noises, targets


@pytest.mark.parametrize(
    "shares",
    [[1], [3, 4], [2, 3, 6], [1, 0, 2], [1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 5, 0]],
)
def test_simplex_finds_the_known_optimum(shares):
    weights = ensemble_weights.fit_simplex(*orthogonal_members(shares))
    expected = np.divide(shares, np.sum(shares))
    np.testing.assert_allclose(weights, expected, atol=1e-4)
    assert weights.sum() == pytest.approx(1, abs=1e-12) and weights.min() >= 0


def test_simplex_drops_a_member_that_only_harms():
    """The third coordinate of the target is negative, and any weight raises it."""
    embeddings, targets = np.eye(3)[None], np.array([[3.0, 4.0, -5.0]])
    weights = ensemble_weights.fit_simplex(embeddings, targets)
    np.testing.assert_allclose(weights, [3 / 7, 4 / 7, 0], atol=1e-4)


def test_simplex_is_as_good_as_a_fine_grid():
    """All 5,151 points 0.01 apart, scored the plain way."""
    embeddings, targets = draw()
    weights = ensemble_weights.fit_simplex(embeddings, targets)
    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)

    def score(w):
        mean = np.einsum("bmd,m->bd", unit, w)
        lengths = np.linalg.norm(mean, axis=1) * np.linalg.norm(targets, axis=1)
        return ((mean * targets).sum(axis=1) / lengths).mean()

    grid = [
        np.array([a, b, 100 - a - b]) / 100 for a in range(101) for b in range(101 - a)
    ]
    best = max(grid, key=score)
    assert score(weights) >= score(best)
    np.testing.assert_allclose(weights, best, atol=0.01)
    assert weights[0] > weights[1] > weights[2] > 0


def test_simplex_is_deterministic_and_ignores_lengths():
    embeddings, targets = draw()
    weights = ensemble_weights.fit_simplex(embeddings, targets)
    longer = embeddings * np.array([1, 10, 0.1]).reshape(1, 3, 1)
    np.testing.assert_array_equal(
        weights, ensemble_weights.fit_simplex(embeddings, targets)
    )
    np.testing.assert_allclose(
        weights, ensemble_weights.fit_simplex(longer, 7 * targets), atol=1e-4
    )


@pytest.mark.parametrize("num_members", range(1, 9))
def test_grid_covers_the_simplex(num_members):
    grid = np.array(list(ensemble_weights._grid(num_members)))
    assert len(grid) <= 500
    np.testing.assert_allclose(grid.sum(axis=1), 1)
    assert {tuple(row) for row in np.eye(num_members)} <= {tuple(row) for row in grid}


@pytest.mark.parametrize("count", [90, 20])
def test_ridge_equals_scikit_learn(count):
    """One penalty, start of zero weights: the plain ridge with a column of ones.

    There are 37 columns: of many examples and of few.
    """
    linear_model = pytest.importorskip("sklearn.linear_model")
    embeddings, targets = draw(examples=count)
    start = np.zeros(3)
    found = ensemble_weights.fit_ridge(embeddings, targets, start, penalties=[0.02])
    x = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    x = np.concatenate([x.reshape(count, -1), np.ones((count, 1))], axis=1)
    y = targets / np.linalg.norm(targets, axis=1, keepdims=True)
    model = linear_model.Ridge(alpha=0.02 * count, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(found.kernel, model.coef_.T[:-1], atol=1e-5)
    np.testing.assert_allclose(found.bias, model.coef_.T[-1], atol=1e-5)


def test_ridge_undoes_a_rotation_that_no_weights_can():
    embeddings, targets = draw(examples=600, members=2, noise=(0.3, 1.0))
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    embeddings[:, 0] = embeddings[:, 0] @ rotation
    found = ensemble_comparison.compare(["a", "b"], embeddings, targets)
    scores = {row.name: row.score for row in found.rows}
    assert scores["ridge"] > 0.9 > scores["simplex"] + 0.1
    assert found.penalty < 1


def test_ridge_falls_back_on_its_start():
    """Targets at random teach nothing but the weights it was given."""
    embeddings, _ = draw(examples=40)
    targets = np.random.default_rng(5).normal(size=(40, 12))
    start = [0.2, 0.3, 0.5]
    found = ensemble_weights.fit_ridge(embeddings, targets, start, penalties=[1e6])
    np.testing.assert_allclose(
        np.abs(ensemble_weights.stack(embeddings, found)),
        np.abs(vectors.combine(embeddings, start)),
        atol=1e-3,
    )


def test_cross_validation_chooses_more_penalty_for_fewer_examples():
    few = ensemble_weights.fit_ridge(*draw(examples=20), [1 / 3] * 3)
    many = ensemble_weights.fit_ridge(*draw(examples=3000), [1 / 3] * 3)
    assert few.penalty > many.penalty


def test_the_model_computes_what_was_fitted():
    embeddings, targets = draw()
    weights = ensemble_weights.fit_simplex(embeddings, targets)
    model = Ensemble(["a", "b", "c"], weights, embedding_dim=12)
    mean = vectors.combine(embeddings, weights)
    np.testing.assert_allclose(model(embeddings), mean, atol=1e-5)
    stacking = ensemble_weights.fit_ridge(embeddings, targets, weights)
    model = Ensemble(["a", "b", "c"], embedding_dim=12, stacking=True)
    model.set_stacking(stacking.kernel, stacking.bias)
    stacked = ensemble_weights.stack(embeddings, stacking)
    np.testing.assert_allclose(model(embeddings), stacked, atol=1e-5)


def test_comparison_puts_ensembles_above_single_models():
    names = ["clip_interrogator_tiny", "knn", "vit_regressor_tiny"]
    embeddings, targets = draw(noise=(1.0, 1.0, 1.0))
    found = ensemble_comparison.compare(names, embeddings, targets)
    joined = ["uniform", "report", "simplex", "ridge"]
    assert [row.name for row in found.rows] == [*names, *joined]
    rows = {row.name: row for row in found.rows}
    assert rows["report"].weights == (0.25, 0, 0.75)
    assert (found.num_fitted, found.num_measured) == (200, 200)
    best = max(rows[name].score for name in names)
    assert rows["simplex"].score > best and rows["simplex"].gain_low > 0
    assert rows[found.best_single].gain == 0
    for row in found.rows:
        assert row.low < row.score < row.high
        assert row.kind == ("single" if row.name in names else "ensemble")


def test_comparison_measures_on_examples_that_fitted_nothing():
    """A member that knows the fitted half by heart, and nothing of the other."""
    embeddings, targets = draw(examples=300, members=2, noise=(0.8, 0.8))
    embeddings[:150, 1] = targets[:150]
    embeddings[150:, 1] = np.random.default_rng(3).normal(size=(150, 12))
    fitted, measured = slice(0, 150), slice(150, 300)
    found = ensemble_comparison.compare(
        ["a", "b"],
        embeddings[fitted],
        targets[fitted],
        (embeddings[measured], targets[measured]),
    )
    rows = {row.name: row for row in found.rows}
    assert found.best_single == "b"
    assert rows["simplex"].weights == pytest.approx((0, 1), abs=1e-4)
    assert abs(rows["simplex"].score) < 0.1 and rows["a"].score > 0.5


def test_one_set_is_halved_and_the_other_half_measured(monkeypatch):
    embeddings, targets = draw(examples=101, members=2, noise=(1, 1))
    seen, fit = [], ensemble_weights.fit_simplex

    def remember(embeddings, targets):
        seen.extend(map(tuple, targets))
        return fit(embeddings, targets)

    monkeypatch.setattr(ensemble_comparison, "fit_simplex", remember)
    found = ensemble_comparison.compare(["a", "b"], embeddings, targets)
    others = [i for i, target in enumerate(targets) if tuple(target) not in seen]
    assert (
        (found.num_fitted, found.num_measured) == (len(seen), len(others)) == (51, 50)
    )
    a, t = embeddings[others, 0], targets[others]
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(t, axis=1)
    expected = ((a * t).sum(axis=1) / lengths).mean()
    assert found.rows[0].score == pytest.approx(expected, abs=1e-6)


def test_report_weights_need_its_two_models():
    assert ensemble_comparison.report_weights(["vit_regressor_base", "knn"]) is None
    found = ensemble_comparison.report_weights(
        ["vit_regressor_base", "clip_interrogator_base"]
    )
    np.testing.assert_array_equal(found, [0.75, 0.25])


def test_table_and_json_hold_every_row():
    found = ensemble_comparison.compare(
        ["one", "other"], *draw(members=2, noise=(1, 1))
    )
    lines = ensemble_comparison.format_table(found).split("\n")
    assert len(lines) == 2 + 5
    for line, row in zip(lines[2:], found.rows, strict=True):
        assert line.startswith(row.name) and f"{row.score:.4f} [" in line
    content = json.loads(json.dumps(ensemble_comparison.to_json(found)))
    assert content["members"] == ["one", "other"]
    assert content["rows"][3]["name"] == "simplex"
    assert sum(content["rows"][3]["weights"]) == pytest.approx(1)
    assert content["num_fitted"] == 200


@pytest.mark.parametrize(
    "embeddings, targets",
    [
        (np.zeros((5, 4)), np.zeros((5, 4))),
        (np.zeros((5, 2, 4)), np.zeros((5, 3))),
        (np.zeros((5, 9, 4)), np.zeros((5, 4))),
        (np.full((5, 2, 4), np.nan), np.zeros((5, 4))),
    ],
    ids=["rank", "width", "nine members", "NaN"],
)
def test_bad_arrays_are_refused(embeddings, targets):
    with pytest.raises(ValueError, match="embeddings and targets must be"):
        ensemble_weights.fit_simplex(embeddings, targets)


def test_bad_settings_are_refused():
    embeddings, targets = draw(examples=3)
    with pytest.raises(ValueError, match="Received: 4"):
        ensemble_weights.fit_ridge(embeddings, targets, [1, 0, 0], folds=4)
    with pytest.raises(ValueError, match="4 examples or more. Received: 3"):
        ensemble_comparison.compare(["a", "b", "c"], embeddings, targets)
    with pytest.raises(ValueError, match="3 distinct names"):
        ensemble_comparison.compare(["a", "a", "c"], *draw())
    with pytest.raises(ValueError, match="other than uniform.*ridge"):
        ensemble_comparison.compare(["a", "ridge", "c"], *draw())


def test_one_measured_example_has_no_interval(tmp_path):
    embeddings, targets = draw(examples=41)
    measured = embeddings[40:], targets[40:]
    found = ensemble_comparison.compare(
        ["a", "b", "c"], embeddings[:40], targets[:40], measured
    )
    assert all(row.low is row.gain_high is None for row in found.rows)
    text = ensemble_comparison.format_table(found)
    assert "no intervals for one example" in text and "[" not in text
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps(ensemble_comparison.to_json(found)))
    assert ensemble_comparison.read_comparison(path).rows == found.rows
