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
    }
    assert all(type(value) is float for value in found.values())


def test_ratios_over_nothing_are_zero():
    found = health.measure_health([""], [""], [True])
    assert found["length_ratio"] == found["distinct_1"] == found["distinct_2"] == 0


def test_ended_must_match_the_predictions():
    with pytest.raises(ValueError, match="Received: 2 for 1"):
        health.measure_health(["a"], ["a"], [True, False])
