import re

import pytest

from tf_prompt.metrics.overlap import align_words, explain


def test_align_words_by_hand():
    overlap = align_words("a red cat and a dog", "a dog and a blue bird and a sun")
    assert overlap.matched == ("a", "and", "a", "dog")
    assert overlap.missed == ("red", "cat")
    assert overlap.added == ("blue", "bird", "and", "a", "sun")
    assert overlap.reference_flags == (True, False, False, True, True, True)
    assert overlap.prediction_flags == (True,) * 4 + (False,) * 5
    assert overlap.f1 == pytest.approx(100 * 2 * 4 / (6 + 9))


def test_order_does_not_count():
    overlap = align_words("red cat blue dog", "blue dog red cat")
    assert overlap.f1 == 100
    assert overlap.missed == overlap.added == ()


@pytest.mark.parametrize(
    "reference, prediction, f1",
    [("", "", 100), ("a cat", "", 0), ("", "a cat", 0), ("a cat", "two dogs", 0)],
    ids=["both empty", "no prediction", "no reference", "nothing in common"],
)
def test_extremes(reference, prediction, f1):
    overlap = align_words(reference, prediction)
    assert overlap.f1 == f1
    assert overlap.matched == ()


ROWS = [
    {"image_id": "half", "reference": "red cat", "prediction": "red dog"},
    {"image_id": "best", "reference": "red cat", "prediction": "red cat"},
    {"image_id": "none", "reference": "red cat", "prediction": ""},
    {"image_id": "most", "reference": "a red cat", "prediction": "a red dog"},
    {"image_id": "zero", "reference": "red cat", "prediction": "two birds"},
]


def names_of(text):
    return re.findall(r"^(\w+): word F1", text, re.MULTILINE)


def test_explain_spreads_from_best_to_worst():
    assert names_of(explain(ROWS, 3)) == ["best", "half", "zero"]
    assert names_of(explain(ROWS, 1)) == ["best"]
    assert names_of(explain(ROWS, 99)) == ["best", "most", "half", "none", "zero"]


def test_explain_names_the_words():
    assert explain([ROWS[3]], 1).splitlines() == [
        "most: word F1 66.7, 1 of 1",
        "true:      a red cat",
        "predicted: a red dog",
        "matched:   a, red",
        "missed:    cat",
        "added:     dog",
    ]
    assert "predicted: –\nmatched:   –\nmissed:    red, cat" in explain([ROWS[2]], 1)


def test_explain_needs_rows_and_a_count():
    with pytest.raises(ValueError, match="count must be at least 1. Received: 0"):
        explain(ROWS, 0)
    with pytest.raises(ValueError, match="rows must hold"):
        explain([], 3)
