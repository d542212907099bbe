import numpy as np
import pytest

from tf_prompt.metrics import bleu
from tf_prompt.metrics.significance import paired_bootstrap


def test_three_examples_agree_with_all_their_resamples():
    """By hand: of 27 equally likely draws, (2/3)^3 miss the one example that differs.

    The mean difference is 0, 1/3, 2/3, 1 in 8, 12, 6, 1 of the 27 draws.
    """
    found = paired_bootstrap([5, 5, 6], [5, 5, 5], resamples=20000)
    assert found.difference == pytest.approx(1 / 3)
    assert found.low == 0
    assert found.high == pytest.approx(1)
    assert found.p == pytest.approx(2 * 8 / 27, abs=0.015)


def test_equal_systems_do_not_differ():
    scores = np.random.default_rng(0).normal(size=50)
    found = paired_bootstrap(scores, scores)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_one_that_is_always_better_gets_the_smallest_p():
    scores = np.random.default_rng(0).normal(size=50)
    found = paired_bootstrap(scores + 1, scores, resamples=999)
    assert found.p == pytest.approx(2 / 1000)
    assert found.low == pytest.approx(1) and found.high == pytest.approx(1)


def test_order_turns_the_sign_only():
    first, second = np.random.default_rng(1).normal(size=(2, 40))
    ab, ba = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert ab.difference == pytest.approx(-ba.difference)
    assert (ab.low, ab.high) == pytest.approx((-ba.high, -ba.low))
    assert ab.p == ba.p


def test_chance_is_called_significant_in_5_of_100_cases():
    samples = np.random.default_rng(2).normal(size=(400, 2, 80))
    p = [paired_bootstrap(a, b, resamples=200).p for a, b in samples]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_pairs_tell_more_than_two_intervals():
    """A small steady gain shows, though the examples differ much among themselves."""
    generator = np.random.default_rng(3)
    difficulty = generator.normal(50, 20, size=200)
    found = paired_bootstrap(difficulty + generator.normal(1, 2, 200), difficulty)
    assert found.low > 0 and found.p < 0.01
    assert found.high - found.low < 1


def test_sums_of_counts_equal_a_score_of_the_drawn_texts():
    """Second implementation: BLEU of resampled sentences, one resample at a time."""
    references = ["a b c d e f", "a b c d x y", "q r s t u v", "k l m n o p"] * 5
    first = ["a b c d e g", "a b c d x y", "q r s t w w", "k l m n o p"] * 5
    second = ["a b c d e f", "a b c g h i", "q r s t u w", "k l m n w w"] * 5
    counts = [bleu.count_matches(references, written) for written in (first, second)]
    found = paired_bootstrap(*counts, bleu.score_sums, resamples=300, seed=7)

    generator = np.random.default_rng(7)
    differences = []
    for _ in range(300):
        drawn = generator.integers(20, size=20)
        of_drawn = [
            bleu.corpus_bleu([references[i] for i in drawn], [w[i] for i in drawn])
            for w in (first, second)
        ]
        differences.append(of_drawn[0] - of_drawn[1])
    np.testing.assert_allclose(
        (found.low, found.high), np.quantile(differences, [0.025, 0.975])
    )
    whole = [bleu.corpus_bleu(references, written) for written in (first, second)]
    assert found.difference == pytest.approx(whole[0] - whole[1])


@pytest.mark.parametrize(
    "first, second, resamples, message",
    [
        ([1, 2], [1], 10, r"equal shapes. Received: \(2,\) and \(1,\)"),
        ([], [], 10, "Received: 0 examples, resamples=10"),
        ([1], [1], 0, "Received: 1 examples, resamples=0"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, resamples, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(first, second, resamples=resamples)


def test_a_difference_within_one_family_proves_nothing():
    first, second = np.r_[np.ones(50), 0.0], np.r_[np.zeros(50), 0.1]
    families = ["template"] * 50 + ["other"]
    assert paired_bootstrap(first, second).p < 0.01
    by_family = paired_bootstrap(first, second, families=families)
    assert by_family.difference == paired_bootstrap(first, second).difference
    assert by_family.low < 0 and by_family.p > 0.1
