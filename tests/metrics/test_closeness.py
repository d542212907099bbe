"""How near training prompts are: by hand, and against comparing all with all."""

import numpy as np
import pytest

from tf_prompt.metrics import closeness


def test_overlaps_by_hand():
    training = ["a red cat", "the old mill at dawn", "a red cat"]
    prompts = ["a red cat", "cat red a a", "a blue cat", "the mill", "snow", ""]
    # Words in both over words in either: 3/3, 3/3, 2/4, 2/5, none, none.
    expected = [1, 1, 0.5, 0.4, 0, 0]
    found = closeness.closest_overlaps(prompts, iter(training))
    assert found.tolist() == pytest.approx(expected)


def test_overlaps_are_those_of_comparing_all_with_all():
    generator = np.random.default_rng(0)
    draw = [
        " ".join(generator.choice(list("abcdefghij"), generator.integers(1, 7)))
        for _ in range(120)
    ]
    prompts, training = draw[:40], draw[40:]

    def overlap(first, second):
        first, second = set(first.split()), set(second.split())
        return len(first & second) / len(first | second)

    expected = [max(overlap(p, t) for t in training) for p in prompts]
    np.testing.assert_allclose(closeness.closest_overlaps(prompts, training), expected)


def test_no_training_prompt_is_no_overlap():
    assert closeness.closest_overlaps(["a cat"], [""]).tolist() == [0]


def test_a_limit_belongs_to_the_group_above():
    groups = closeness.group_by_overlap(np.array([0, 0.3, 0.49, 0.5, 0.7, 1]))
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "below_0.3": [0],
        "below_0.5": [1, 2],
        "below_0.7": [3],
        "from_0.7": [4, 5],
    }
