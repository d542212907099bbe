import itertools
import json

import keras_hub
import numpy as np
import pytest

from tf_prompt.data import text
from tf_prompt.interrogation import clip_tokens
from tf_prompt.interrogation.clip_tokens import CLIPTokens

COUNTS = {"cat": 5, "cats": 4, "scar": 2, "n't": 2, "żółw": 1}


@pytest.fixture(scope="module")
def tokenizer():
    return clip_tokens.build_tokenizer(COUNTS, 600)


def test_training_words_are_one_token_and_others_are_letters(tokenizer):
    for word in ("cat", "cats", "scar", "żółw"):
        assert len(tokenizer.tokenize(word)) == 1, word
    letters = tokenizer.tokenize("dog!")
    named = [tokenizer.id_to_token(int(i)) for i in letters]
    assert named == ["d", "o", "g</w>", "!</w>"]


def test_any_text_can_be_read_back(tokenizer):
    prompt = "cats, ☃ and 猫 don't"
    # The tokenizer keeps no spaces before punctuation apart.
    written = tokenizer.detokenize(tokenizer.tokenize(prompt)).replace(" ", "")
    assert written == prompt.replace(" ", "")


def test_vocabulary_keeps_to_its_size():
    small = clip_tokens.build_tokenizer(COUNTS, 515)
    assert small.vocabulary_size() == 515
    # The most frequent pair of all words: c and a, in cat, cats and scar.
    assert list(small.merges) == ["c a"]
    with pytest.raises(ValueError, match="vocab_size must exceed 514"):
        clip_tokens.build_tokenizer(COUNTS, 514)


def test_the_same_counts_give_the_same_ids():
    # Equal counts everywhere, so that most pairs are chosen among equals.
    words = map("".join, itertools.permutations("abcde", 4))
    counts = dict.fromkeys(words, 1)
    first = clip_tokens.build_tokenizer(counts, 600)
    for _ in range(3):
        again = clip_tokens.build_tokenizer(counts, 600)
        assert again.get_vocabulary() == first.get_vocabulary()
        assert list(again.merges) == list(first.merges)


def test_texts_lie_between_start_and_end(tokenizer):
    tokens = CLIPTokens(tokenizer, max_tokens=10)
    cat = int(tokenizer.tokenize("cat")[0])
    token_ids = tokens(["cat", "cat cat", ""])
    # No longer than the longest.
    assert token_ids.dtype == np.int32 and token_ids.shape == (3, 4)
    start, end = tokens.start_id, tokens.end_id
    assert end == tokenizer.vocabulary_size() - 1
    np.testing.assert_array_equal(token_ids[0], [start, cat, end, 0])
    np.testing.assert_array_equal(token_ids[1], [start, cat, cat, end])
    np.testing.assert_array_equal(token_ids[2], [start, end, 0, 0])


def test_a_long_text_loses_its_tail_but_not_its_end(tokenizer):
    tokens = CLIPTokens(tokenizer, max_tokens=4)
    cat = int(tokenizer.tokenize("cat")[0])
    expected = [[tokens.start_id, cat, cat, tokens.end_id]]
    np.testing.assert_array_equal(tokens(["cat " * 9]), expected)


def test_words_only_reads_what_training_saw(tokenizer):
    tokens = CLIPTokens(tokenizer, words_only=True)
    np.testing.assert_array_equal(tokens(["Cat, 8 scar!"]), tokens(["cat scar"]))


def test_rows_of_words_joined_are_the_prompt(tokenizer):
    """What the table of the training pipeline rests on."""
    words = ["cat", "dog", "n't", "żółw", "h.p.", "'s"]
    tokens = CLIPTokens(tokenizer)
    rows = tokens.rows_of_words([*text.SPECIAL_TOKENS, *words])
    assert rows[: len(text.SPECIAL_TOKENS)] == [[]] * len(text.SPECIAL_TOKENS)
    joined = [token_id for row in rows for token_id in row]
    whole = tokens([" ".join(words)])[0]
    assert joined == whole[1 : 1 + len(joined)].tolist()
    assert whole[1 + len(joined)] == tokens.end_id


def test_tokens_are_saved_and_loaded(tokenizer, tmp_path):
    tokens = CLIPTokens(tokenizer, max_tokens=12, words_only=True)
    tokens.save(tmp_path)
    loaded = clip_tokens.load_tokens(tmp_path)
    assert loaded.describe() == tokens.describe()
    np.testing.assert_array_equal(loaded(["scar dog"]), tokens(["scar dog"]))
    (tmp_path / "vocabulary.json").write_text("{")
    with pytest.raises(ValueError, match="JSON file must be whole"):
        clip_tokens.load_tokens(tmp_path)
    with pytest.raises(FileNotFoundError, match="settings.json"):
        clip_tokens.load_tokens(tmp_path / "absent")


def test_tokenizers_of_presets_and_of_transformers_are_read(tokenizer, tmp_path):
    vision = keras_hub.models.CLIPVisionEncoder(8, 8, 1, 1, 8, image_shape=(8, 8, 3))
    reader = keras_hub.models.CLIPTextEncoder(600, 8, 8, 1, 1, 8)
    network = keras_hub.models.CLIPBackbone(vision, reader, 8)
    network.save_to_preset(tmp_path / "preset")
    tokenizer.save_to_preset(tmp_path / "preset")
    loaded = clip_tokens.load_tokenizer(tmp_path / "preset")
    assert isinstance(loaded, keras_hub.models.CLIPTokenizer)
    folder = tmp_path / "transformers"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(dict(tokenizer.vocabulary)))
    merges = "\n".join(["#version: 0.2", *tokenizer.merges, ""])
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    theirs = clip_tokens.load_tokenizer(folder)
    for other in (loaded, theirs):
        np.testing.assert_array_equal(
            other.tokenize("scar dog"), tokenizer.tokenize("scar dog")
        )
    with pytest.raises(ValueError, match="a tokenizer must be"):
        clip_tokens.load_tokenizer(tmp_path)
