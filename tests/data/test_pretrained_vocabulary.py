"""The pieces of a pretrained language model: ids, texts, and what is never written."""

import keras_hub
import pytest
import tensorflow as tf

from tests.language_families import TEXTS, train_pieces
from tf_prompt.data import pretrained_vocabulary, vocabulary
from tf_prompt.data.text import SPECIAL_TOKENS
from tf_prompt.inference.prompt_tokens import PromptTokens


@pytest.fixture(scope="module")
def tokenizer():
    return keras_hub.models.PaliGemmaTokenizer(proto=train_pieces())


@pytest.fixture
def run_dir(tokenizer, tmp_path):
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save_assets(str(tmp_path / "tokenizer"))
    return tmp_path


def test_ids_and_texts_are_those_of_the_base(run_dir, tokenizer):
    ours, theirs = pretrained_vocabulary.read(run_dir), tokenizer
    assert len(ours) == theirs.vocabulary_size() + len(SPECIAL_TOKENS)
    tokens = PromptTokens(ours)
    # The last is not in the training texts: it is written in bytes.
    for prompt in (*TEXTS[:4], "Zebra, 4k — 日本"):
        ids = ours.encode(prompt)
        base_ids = [index - len(SPECIAL_TOKENS) for index in ids]
        assert base_ids == list(theirs(prompt))
        assert tokens.join(tf.constant([ids]))[0].numpy().decode() == prompt
        assert theirs.detokenize(base_ids) == prompt


def test_nothing_without_a_text_is_written(run_dir):
    found = pretrained_vocabulary.read(run_dir)
    banned = {found.tokens[index] for index in found.banned_ids}
    assert {"<pad>", "<eos>", "<bos>", "<unk>", "<0x0A>"} <= banned
    assert not banned & {"<0x41>", "A", "patch"}


def test_a_run_keeps_it(run_dir):
    again = vocabulary.read(run_dir, "subwords", fold_case=True)
    assert again.encode("A  Red") == again.encode("a red")
    (run_dir / "tokenizer" / "vocabulary.spm").write_bytes(b"none")
    with pytest.raises(ValueError, match="tokenizer must be of a language model"):
        vocabulary.read(run_dir, "subwords")


def test_byte_pairs_of_a_base(tmp_path):
    words = ["A", "r", "e", "d", "\u0120", "\u010a", ",", "re", "red", "\u0120red"]
    names = ["<pad>", "</s>", *words]
    merges = ["r e", "re d", "\u0120 red"]
    theirs = keras_hub.models.GPT2Tokenizer(
        vocabulary={
            **{name: index for index, name in enumerate(names)},
            "<|endoftext|>": 14,
        },
        merges=merges,
    )
    (tmp_path / "tokenizer").mkdir()
    theirs.save_assets(str(tmp_path / "tokenizer"))
    ours = pretrained_vocabulary.read(tmp_path)
    assert len(ours) == 4 + 15
    ids = ours.encode("A red,red")
    assert [index - 4 for index in ids] == list(theirs("A red,red")) == [2, 11, 8, 10]
    assert PromptTokens(ours).join(tf.constant([ids]))[0] == b"A red,red"
    banned = {ours.tokens[index] for index in ours.banned_ids}
    assert banned == {"<pad>", "</s>", "\u010a", "[12]", "[13]", "<|endoftext|>"}
