import collections
import hashlib

import pytest

from tf_prompt.data.split import SPLITS, split_of


def test_split_never_changes():
    # From coreutils 9.1: `printf %s PROMPT | b2sum -l 64`, as a fraction of 2**64.
    known = {
        "a red fox": "train",  # 0.2195
        "sea": "validation",  # 0.9427
        "george washington by kehinde wiley": "test",  # 0.9655
        "château": "train",  # 0.6837
    }
    assert {prompt: split_of(prompt.split()) for prompt in known} == known


def test_split_depends_on_words_only():
    assert split_of(["a", "fox"]) == split_of(("a", "fox"))
    splits = {split_of([str(n)]) for n in range(200)}
    assert splits == set(SPLITS)


def test_splits_have_their_shares():
    counts = collections.Counter(split_of([f"word{n}"]) for n in range(20_000))
    # Three standard deviations of a binomial count are 127 and 92.
    assert abs(counts["train"] - 18_000) < 130
    assert abs(counts["validation"] - 1_000) < 95
    assert abs(counts["test"] - 1_000) < 95


def test_shares_move_the_borders():
    # Places by coreutils, as above.
    places = {"a red fox": 0.2195, "château": 0.6837, "sea": 0.9427}
    for validation, test in ((0.5, 0.2), (0.2, 0.5), (0.05, 0.0), (0.0, 0.4)):
        for prompt, place in places.items():
            split = split_of(prompt.split(), validation, test)
            if place < 1 - validation - test:
                assert split == "train"
            else:
                assert split == ("test" if place >= 1 - test else "validation")


@pytest.mark.parametrize(
    "validation, test, splits",
    [(0.0, 0.0, {"train"}), (0.7, 0.0, {"train", "validation"})],
)
def test_a_share_of_0_takes_nothing(validation, test, splits):
    assert {split_of([str(n)], validation, test) for n in range(2000)} == splits


def test_shares_by_default_are_those_of_earlier_versions():
    """Their borders were 0.90 and 0.90 + 0.05."""
    for number in range(5000):
        digest = hashlib.blake2b(str(number).encode(), digest_size=8).digest()
        place = int.from_bytes(digest, "big") / 2**64
        expected = SPLITS[(place >= 0.90) + (place >= 0.90 + 0.05)]
        assert (
            split_of([str(number)]) == split_of([str(number)], 0.05, 0.05) == expected
        )


def test_each_prompt_is_for_testing_in_one_of_the_folds():
    prompts = [[str(number)] for number in range(2000)]
    folds = [
        [split_of(words, 0.2, 1 / 3, shift) for words in prompts]
        for shift in (0, 1 / 3, 2 / 3)
    ]
    assert {found.count("test") for found in zip(*folds, strict=True)} == {1}
    # Three standard deviations of a binomial count are 54.
    assert all(abs(fold.count("validation") - 400) < 55 for fold in folds)
    assert folds[0] == [split_of(words, 0.2, 1 / 3) for words in prompts]
