import pytest

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import rouge


@pytest.mark.parametrize(
    "reference, prediction, common",
    [("a b c d", "a c d b", 3), ("a b", "b a", 1), ("a", "", 0), ("a a", "a", 1)],
)
def test_by_hand(reference, prediction, common):
    assert rouge.common_length(reference.split(), prediction.split()) == common
    words = len(reference.split()) + len(prediction.split())
    (score,) = rouge.score_pairs([reference], [prediction])
    assert score == pytest.approx(200 * common / words)


def test_two_empty_prompts_share_nothing():
    assert rouge.score_pairs([""], [""]) == [0]


def test_equals_rouge_score():
    """rouge-score 0.1.2: RougeScorer(["rougeL"]), fmeasure, of the same prompts."""
    expected = [
        88.88888888888889,
        78.26086956521738,
        52.63157894736842,
        50.0,
        70.58823529411764,
        0.0,
    ]
    assert rouge.score_pairs(REFERENCES, PREDICTIONS) == pytest.approx(expected)
