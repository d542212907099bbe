import collections

import pytest

from tf_prompt.data import text

KEHINDE = (
    "george washington by kehinde wiley and rembrandt : 5. photorealistic facial "
    "features, portrait, detailed face, ultra high details, large, close - up : 1."
)


def test_the_example_of_the_slides():
    assert (
        text.split_words(KEHINDE)
        == (
            "george washington by kehinde wiley and rembrandt photorealistic facial "
            "features portrait detailed face ultra high details large close up"
        ).split()
    )


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("", []),
        ("1 2 3 !!! ...", []),
        ("A RED Cat.", ["a", "red", "cat"]),
        ("8k render, octane4d, 4 k", ["render", "k"]),
        ("One cat. Two dogs!", ["one", "cat", "two", "dogs"]),
        ("close-up of tea", ["close-up", "of", "tea"]),
        ("Ein Käfer – 猫, кот", ["ein", "käfer", "猫", "кот"]),
        ("cat 🐈 (masterpiece:1.2)", ["cat"]),
    ],
)
def test_text_rule(prompt, words):
    assert text.split_words(prompt) == words


def test_long_prompts_are_cut():
    prompt = "cat " * 40
    assert len(text.split_words(prompt)) == 30
    assert len(text.split_words(prompt, max_words=None)) == 40
    assert text.normalise(prompt) == " ".join(["cat"] * 30)


def test_vocabulary_is_ranked_by_count_then_alphabet():
    counts = collections.Counter({"dog": 2, "cat": 2, "a": 5, "rare": 1})
    assert text.build_vocabulary(counts, 7) == [
        "[PAD]",
        "[UNK]",
        "[START]",
        "[END]",
        "a",
        "cat",
        "dog",
    ]


def test_vocabulary_round_trip(tmp_path):
    vocabulary = [*text.SPECIAL_TOKENS, "käfer", "\u2028", "don't"]
    text.write_vocabulary(vocabulary, tmp_path / "v.txt")
    assert text.read_vocabulary(tmp_path / "v.txt") == vocabulary


@pytest.mark.parametrize(
    "content, message",
    [
        ("cat\ndog\n", "must begin with"),
        ("[PAD]\n[UNK]\n[START]\n[END]\na\na\n", "must not repeat"),
    ],
)
def test_damaged_vocabulary(tmp_path, content, message):
    (tmp_path / "v.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        text.read_vocabulary(tmp_path / "v.txt")


def test_vocabulary_needs_words():
    with pytest.raises(ValueError, match="must hold words"):
        text.build_vocabulary(collections.Counter(), 10)


def test_a_vocabulary_in_another_encoding_is_one_line(tmp_path):
    path = tmp_path / "vocabulary.txt"
    text.write_vocabulary([*text.SPECIAL_TOKENS, "fox"], path)
    path.write_bytes(path.read_bytes() + "château\n".encode("latin-1"))
    with pytest.raises(ValueError, match="must be UTF-8 text. Received: .*vocab"):
        text.read_vocabulary(path)


def test_a_cut_vocabulary_is_refused(tmp_path):
    """Its last word would be lost, or half of it taken for a word."""
    path = tmp_path / "vocabulary.txt"
    text.write_vocabulary([*text.SPECIAL_TOKENS, "fox", "foxglove"], path)
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(ValueError, match="it is cut. Received: .*vocab"):
        text.read_vocabulary(path)
