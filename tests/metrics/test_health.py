import numpy as np
import pytest

from tf_prompt.metrics import health


def test_measure_health_by_hand():
    references = ["a b c d", "a b", "c d", ""]
    predictions = ["a b a", "a b a", "c", ""]
    found = health.measure_health(
        references, predictions, np.array([True, True, True, False])
    )
    assert found == {
        "unique_ratio": 3 / 4,
        "end_rate": 3 / 4,
        "length_ratio": 7 / 8,
        "distinct_1": 3 / 7,
        "distinct_2": 2 / 4,
        "repeated_2": 0.0,
    }
    assert all(type(value) is float for value in found.values())


def test_ratios_over_nothing_are_zero():
    found = health.measure_health([""], [""], [True])
    assert found["length_ratio"] == found["distinct_1"] == found["distinct_2"] == 0


def test_ended_must_match_the_predictions():
    with pytest.raises(ValueError, match="Received: 2 for 1"):
        health.measure_health(["a"], ["a"], [True, False])


def test_repeated_pairs_by_hand():
    # Pairs of "a b a b": ab ba ab; of "c": none.
    found = health.measure_health(["a", "b"], ["a b a b", "c"], [True, True])
    assert found["repeated_2"] == pytest.approx(1 / 3 / 2)


def test_collapse_is_named():
    references = [f"prompt {i}" for i in range(10)]
    same = ["a painting of a a of a a"] * 10
    signs = health.find_collapse(references, same, [False] * 10)
    assert signs[0].startswith("1 distinct predictions for 10 distinct prompts")
    assert signs[0].endswith("a painting of a a of a a")
    assert signs[1:] == [
        "29% of the word pairs in a prediction repeat",
        "only 0% of the predictions end",
    ]


def test_variety_is_no_collapse():
    references = [f"prompt {i}" for i in range(10)]
    assert health.find_collapse(references, references, [True] * 10) == []
    assert health.find_collapse(["a"] * 10, ["a"] * 10, [True] * 10) == []
