"""Modifiers and their metrics by hand."""

import numpy as np
import pytest

from tf_prompt.metrics import modifiers


def test_modifiers_are_the_parts_behind_the_first_comma():
    prompt = "A fox, Oil Painting , , 8k,oil painting, by Greg"
    found = modifiers.split_modifiers(prompt, lambda part: part.strip().lower())
    assert found == ["oil painting", "8k", "by greg"]
    assert modifiers.split_modifiers("no comma", str) == []


def test_the_longest_known_modifier_is_found_first():
    find = modifiers.ModifierFinder(["oil", "oil painting", "highly detailed", ""])
    assert find("a fox oil painting oil highly detailed oil highly") == [
        "oil painting",
        "oil",
        "highly detailed",
    ]
    assert find("") == [] and modifiers.ModifierFinder([])("oil") == []


def test_metrics_by_hand():
    true = [["a", "b"], ["c"]]
    found = [["a", "x", "y"], []]
    counts = modifiers.count_matches(true, found)
    sums = counts.sum(axis=0)
    score = {n: modifiers.score_sums(sums, n) for n in modifiers.METRICS}
    # One of three written, one of three true; Jaccard 1/4 and 0.
    assert score["precision"] == score["recall"] == pytest.approx(1 / 3)
    assert score["f1"] == pytest.approx(1 / 3)
    assert score["jaccard"] == pytest.approx(1 / 8)
    several = modifiers.score_sums(np.stack([sums, counts[0]]), "jaccard")
    np.testing.assert_allclose(several, [1 / 8, 1 / 4])


def test_nothing_written_scores_nothing_and_no_true_modifier_is_an_error():
    sums = modifiers.count_matches([["a"]], [[]]).sum(axis=0)
    assert [modifiers.score_sums(sums, n) for n in modifiers.METRICS] == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="must have a modifier"):
        modifiers.count_matches([[]], [["a"]])
