import pytest

from tf_prompt.metrics import pairs


@pytest.mark.parametrize(
    "references, predictions, message",
    [
        (["a cat"], [], "equal lengths. Received: 1 and 0"),
        ([], [], "at least one prompt. Received: none"),
    ],
    ids=["unequal", "empty"],
)
def test_check_pairs_names_the_fault(references, predictions, message):
    with pytest.raises(ValueError, match=message):
        pairs.check_pairs(references, predictions)


def test_count_ngrams_of_a_short_prompt_is_empty():
    assert pairs.count_ngrams(["a", "b", "a"], 1) == {("a",): 2, ("b",): 1}
    assert pairs.count_ngrams(["a", "b"], 2) == {("a", "b"): 1}
    assert pairs.count_ngrams(["a", "b"], 3) == {}
    assert pairs.count_ngrams([], 1) == {}
