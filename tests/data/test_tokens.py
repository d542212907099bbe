"""The text rule's tokens are those of NLTK, asked sentence by sentence."""

import random
import unicodedata

import nltk.tokenize
import pytest

from tf_prompt.data import tokens

SENTENCES = nltk.tokenize.PunktSentenceTokenizer()
WORDS = nltk.tokenize.NLTKWordTokenizer()
PIECES = [*"abc d e.,:;'\"`’”“«»‘()[]{}<>?!*-–é\u0301 58 \n\t\xa0&%/_=|\\~猫ß²٣"]
PIECES += ["'s", "n't", "'ll", "cannot", "gonna", "wanna", " 'tis", "more'n", "d'ye"]
PIECES += ["''", "``", "...", "st.", " a.", " b. ", "--", "—", ". )", '." ', "  "]


def with_letters(found):
    return [t for t in found if any(unicodedata.category(c)[0] == "L" for c in t)]


def ask_nltk(text):
    sentences = SENTENCES.tokenize(text)
    return [token for sentence in sentences for token in WORDS.tokenize(sentence)]


def assert_same(text):
    text = text.lower()
    assert with_letters(tokens.tokenize(text)) == with_letters(ask_nltk(text)), text


@pytest.mark.parametrize(
    "text",
    [
        "george washington by kehinde wiley, trending on artstation. 8k",
        "(masterpiece:1.2), [the artist's] st. basil's. cathedral ...",
        "a cat. (a dog.) ) no? yes! e.g. this",
        "it's 'quoted', \"twice\", don't, cannot, wanna, rock'n'roll'",
        "a,,b :c:d ,8k 16:9 a--b --ar 3:2 well-known a/b_c",
        "猫の絵。北斎、浮世絵 o’keeffe “quoted” «x» a\u3000b",
        "the i's' \u2028on '\nx' it's\n",
        "\n . ",
        "",
    ],
)
def test_tokens_are_those_of_nltk(text):
    assert_same(text)


def test_tokens_of_random_text_are_those_of_nltk():
    draw = random.Random(0)
    for _ in range(1500):
        assert_same("".join(draw.choices(PIECES, k=draw.randint(1, 14))))


def test_a_long_piece_is_not_kept():
    tokens._read_piece.cache_clear()
    assert list(tokens.tokenize("a" * 100)) == ["a" * 100]
    assert tokens._read_piece.cache_info().currsize == 0
