import numpy as np
import pytest

from tf_prompt.metrics import bootstrap


def test_interval_of_a_mean_agrees_with_the_normal_law():
    scores = np.random.default_rng(1).normal(50, 10, size=2000)
    low, high = bootstrap.interval(scores, resamples=4000)
    half_width = 1.96 * scores.std() / np.sqrt(2000)
    assert low == pytest.approx(scores.mean() - half_width, abs=0.05)
    assert high == pytest.approx(scores.mean() + half_width, abs=0.05)


def test_interval_covers_the_truth_in_95_of_100_samples():
    generator = np.random.default_rng(2)
    samples = generator.normal(3, 1, size=(200, 100))
    intervals = [bootstrap.interval(sample, resamples=200) for sample in samples]
    covered = np.mean([low < 3 < high for low, high in intervals])
    assert 0.89 < covered < 0.99


def test_interval_of_sums_equals_that_of_drawn_examples():
    counts = np.random.default_rng(3).integers(1, 9, size=(50, 2))
    generator = np.random.default_rng(4)
    ratios = []
    for _ in range(4000):
        drawn = counts[generator.choice(50, size=50)].sum(axis=0)
        ratios.append(drawn[0] / drawn[1])
    expected = np.quantile(ratios, [0.025, 0.975])

    found = bootstrap.interval(counts, lambda s: s[:, 0] / s[:, 1], resamples=4000)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_interval_depends_on_the_seed_only():
    scores = np.arange(30.0)
    assert bootstrap.interval(scores) == bootstrap.interval(scores)
    assert bootstrap.interval(scores) != bootstrap.interval(scores, seed=1)
    assert bootstrap.interval(scores[:1] + 7) == (7, 7)


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="Received: 0 examples, resamples=1000"):
        bootstrap.interval(np.zeros(0))


def test_families_of_copies_are_as_wide_as_the_families_alone():
    scores = np.random.default_rng(5).normal(50, 10, size=60)
    copies = np.repeat(scores, 4)
    families = [f"f{i}" for i in range(60) for _ in range(4)]
    alone = bootstrap.interval(scores)
    # Copies add nothing; drawn one by one they seem to.
    assert bootstrap.interval(copies, families=families) == pytest.approx(alone)
    low, high = bootstrap.interval(copies)
    assert high - low < 0.6 * (alone[1] - alone[0])


def test_a_family_counts_with_all_of_its_examples():
    scores, families = [0.0, 0.0, 0.0, 8.0], ["a", "a", "a", "b"]
    sums, sizes = bootstrap.add_up(np.array(scores), families)
    assert sums.tolist() == [0, 8] and sizes.tolist() == [3, 1]
    # Drawn twice each: a a, a b or b a, b b.
    assert bootstrap.interval(scores, families=families) == (0, 8)
    with pytest.raises(ValueError, match="families must be as many as examples"):
        bootstrap.interval(scores, families=["a"])
