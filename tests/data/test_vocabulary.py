"""Words and subwords: ids, round trips of bytes, files."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import draw_record
from tf_prompt.data import records, subwords, text, vocabulary
from tf_prompt.data.text import SPECIAL_TOKENS, UNK_ID

PROMPTS = [
    "a castle by Greg Rutkowski, 8k, trending on artstation",
    "a castle by night, 8k",
    "portrait of a fox, 50mm, f/1.8 (detailed:1.2)",
    "portrait of a castle, 8k ☕🇩🇪",
]
HARD = [
    *PROMPTS,
    "",
    "[END] [PAD] <|endoftext|> Ġ Ċ",
    "naïve café, Ærøskøbing, 日本の城, \u0436, e\u0301",
    "👩‍🚀 astronaut 🏳️‍🌈, 𝔤𝔬𝔱𝔥𝔦𝔠",
    "1,000.5 × 2¼ — “quoted”…",
]


def join(words, ids):
    return words.separator.encode().join(words.pieces[i] for i in ids).decode()


@pytest.fixture(scope="module")
def learned():
    return vocabulary.build_subwords(PROMPTS, 400)


@pytest.mark.parametrize("prompt", HARD)
def test_bytes_of_a_prompt_survive(learned, prompt):
    ids = learned.encode(prompt)
    assert join(learned, ids) == prompt
    assert all(index >= len(SPECIAL_TOKENS) for index in ids)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_survives(learned, prompt):
    tidy = text.tidy(prompt.encode(errors="replace").decode())
    assert join(learned, learned.encode(tidy)) == tidy


def test_frequent_words_become_one_token(learned):
    assert learned.tokens[:4] == list(SPECIAL_TOKENS)
    assert len(set(learned.tokens)) == len(learned) <= 400
    assert [learned.tokens[i] for i in learned.encode("a castle, 8k")] == [
        *("a", "Ġcastle", ","),
        *("Ġ8", "k"),
    ]
    # A pair that comes once teaches nothing.
    assert len(learned.encode("Rutkowski")) > 3


def test_case_is_folded_by_a_flag(learned):
    folded = vocabulary.build_subwords(PROMPTS, 400, fold_case=True)
    assert join(folded, folded.encode("By Greg, 8K")) == "by greg, 8k"
    assert join(learned, learned.encode("By Greg, 8K")) == "By Greg, 8K"
    assert folded.reference("Two\n Lines,\t8K", "two lines") == "two lines, 8k"
    assert learned.reference("Two\n Lines,\t8K", "two lines") == "Two Lines, 8K"


def test_no_prompt_is_written_over_two_lines(learned):
    banned = {learned.pieces[index] for index in learned.banned_ids}
    assert {b"\n", b"\r", b"\t", b"\x00", b"\x7f"} <= banned
    assert not any(piece.decode().isprintable() for piece in banned)


def test_files_give_the_same_ids(learned, tmp_path):
    learned.write(tmp_path)
    found = vocabulary.read(tmp_path, "subwords")
    assert (found.tokens, found.merges) == (learned.tokens, learned.merges)
    assert [found.encode(p) for p in HARD] == [learned.encode(p) for p in HARD]
    words = vocabulary.read(tmp_path, "words")
    assert words.tokens == learned.tokens and not words.is_raw


@pytest.mark.parametrize(
    "content, message",
    [
        (b"a b c\n", "merges must be pairs of tokens"),
        (b"a b", "merges must be pairs of tokens, complete"),
        (b"\xff \xfe\n", "merges must be UTF-8"),
        (b"zz yy\n", "merges.txt must be of vocabulary.txt beside it"),
    ],
)
def test_damaged_merges_are_named(learned, tmp_path, content, message):
    learned.write(tmp_path)
    (tmp_path / vocabulary.MERGES).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        vocabulary.read(tmp_path, "subwords")


def test_missing_merges_are_named(learned, tmp_path):
    learned.write(tmp_path)
    (tmp_path / vocabulary.MERGES).unlink()
    with pytest.raises(FileNotFoundError, match="subwords need merges.txt"):
        vocabulary.read(tmp_path, "subwords")


def test_tokens_that_are_no_bytes_are_named(learned, tmp_path):
    learned.write(tmp_path)
    text.write_vocabulary([*learned.tokens, "日"], tmp_path / vocabulary.TOKENS)
    with pytest.raises(ValueError, match="a token must be of bytes"):
        vocabulary.read(tmp_path, "subwords")


def test_vocabulary_needs_room_for_all_bytes():
    assert len(vocabulary.build_subwords(PROMPTS, 260)) == 260
    with pytest.raises(ValueError, match="vocab_size must hold .* 256 bytes.*: 259"):
        vocabulary.build_subwords(PROMPTS, 259)


def test_every_byte_has_a_letter_of_its_own():
    assert len(subwords.ALPHABET) == len(set(subwords.ALPHABET)) == 256
    assert [subwords.to_bytes(letter) for letter in subwords.ALPHABET] == [
        bytes([byte]) for byte in range(256)
    ]
    # Of GPT-2's own table.
    assert subwords.to_bytes("ĠĊÃł") == b" \n\xc3\xa0"


def serialise(prompts):
    record = draw_record("red", "left", 0)
    return [
        records.serialise(
            records.Record("x.png", record.image, prompt, text.split_words(prompt))
        )
        for prompt in prompts
    ]


def test_pipeline_gives_the_ids_of_the_tokenizer(learned):
    batches = tf.data.Dataset.from_tensor_slices(serialise(HARD)).batch(3)
    rows = [row for batch in batches.map(learned.reader()) for row in batch.to_list()]
    assert rows == [learned.encode(prompt) for prompt in HARD]


def test_pipeline_gives_words_their_ids():
    words = vocabulary.WordVocabulary([*SPECIAL_TOKENS, "castle", "a"])
    prompts = ["A castle, 8k", "8k", "a Fox"]
    (ids,) = tf.data.Dataset.from_tensors(serialise(prompts)).map(words.reader())
    assert ids.to_list() == [[5, 4], [], [5, UNK_ID]]
    np.testing.assert_array_equal(words.encode("a castle"), [5, 4])
