import numpy as np

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import cider


def test_score_pairs_equals_pycocoevalcap_1_2():
    # Cider().compute_score, one reference each, 10 decimals.
    references = [*REFERENCES, "a red fox", "snow"]
    predictions = [*PREDICTIONS, "", "snow"]
    expected = [
        6.1511440946,
        3.9223558924,
        1.4188924533,
        2.0078878617,
        4.408372486,
        0.0,
        0.0,
        2.5,
    ]
    found = cider.score_pairs(references, predictions)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_score_pairs_by_hand():
    # "a" is in both references: weight log(2 / 2) = 0. Pair 1: unigram cosine 1
    # by "cat" alone, the bigram equal, no longer n-gram: 10 * 2 / 4. Pair 2: of
    # two unigrams of weight log 2, one is right: 10 * (1 / 2) / 4.
    found = cider.score_pairs(["a cat", "a red dog"], ["a cat", "red a fox"])
    np.testing.assert_allclose(found, [5, 1.25])


def test_length_penalty_by_hand():
    # The unigram cosine is 1 / sqrt(1 * 4), after clipping; 3 words too many.
    found = cider.score_pairs(["cat", "dog"], ["cat cat cat cat", "dog"])
    clipped = 1 / 4 * np.exp(-(3**2) / (2 * 6**2))
    np.testing.assert_allclose(found, [10 * clipped / 4, 2.5])


def test_a_single_reference_gives_no_weights():
    assert cider.score_pairs(["a cat"], ["a cat"]) == [0]
