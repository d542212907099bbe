import collections

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
