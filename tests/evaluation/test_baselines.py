import numpy as np
import pytest

from tf_prompt.evaluation import baselines


def test_most_common_breaks_ties_by_alphabet():
    assert baselines.most_common(["b", "a", "c", "b", "a"]) == "a"


@pytest.mark.parametrize(
    "prompts, expected",
    [
        (["a", "b"], 0),
        ([str(i) for i in range(50)], 0),
        (["a"] * 5 + ["b"] * 3 + ["c", "d"], 0),
        (["a"] * 3 + ["b"] * 3, 0),
        # Seven of ten: the three other pictures take three, four stay.
        (["a"] * 7 + ["b", "c", "d"], 4),
        (["a"], 1),
    ],
    ids=["two", "distinct", "half", "two kinds", "most", "one"],
)
def test_shuffled_prompts_stay_with_their_picture_as_seldom_as_can_be(
    prompts, expected
):
    for seed in range(5):
        dealt = baselines.shuffled_prompts(prompts, seed)
        assert sorted(dealt) == sorted(prompts)
        same = sum(old == new for old, new in zip(prompts, dealt, strict=True))
        assert same == expected
    assert baselines.shuffled_prompts(prompts, 4) == dealt


def test_every_other_prompt_is_dealt_equally_often():
    counts = np.zeros((4, 4))
    for seed in range(600):
        dealt = baselines.shuffled_prompts(["0", "1", "2", "3"], seed)
        counts[np.arange(4), [int(prompt) for prompt in dealt]] += 1
    assert counts.diagonal().sum() == 0
    # 200 expected, four standard deviations are 46.
    assert np.abs(counts[~np.eye(4, dtype=bool)] - 200).max() < 46
