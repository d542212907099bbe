"""NLTK's sentences and words of a prompt, at a twentieth of the time.

NLTK runs some thirty regular expressions over each sentence. All of them but the one
for the final period look at what stands between two spaces only: so a prompt is taken
apart at its spaces, most pieces are split by one expression, and the few others by
NLTK, once each. The tokens with a letter are the same, which a test checks.
"""

import functools
import re
import string
from collections.abc import Iterator

import nltk.tokenize

# What NLTK makes a token of its own, wherever it stands.
_ALONE = r"()\[\]{}<>;@#$%&?!*"
# Pieces of these characters have no surprises. NLTK passes over the second of two
# commas or colons, and makes tokens of several periods.
_PLAIN = re.compile(rf"(?:[\w\-/+=|\\~^{_ALONE}]|[,:](?![,:])|\.(?!\.))+")
# A comma or colon in front of a digit is part of a number.
_TOKEN = re.compile(rf"(?:[^{_ALONE},:]|[,:](?=\d))+")
_CONTRACTION = re.compile(r"cannot|gonna|gotta|gimme|lemme|wanna|--")
# One letter may be an initial; more are a word.
_LETTERS, _DIGITS = re.compile("[a-z]{2,}"), re.compile("[0-9]{2,}")
# NLTK wants a plain space behind an apostrophe.
_OTHER_SPACE = re.compile(r"[^\S ]")
# May stand between the last period of a sentence and its end.
_CLOSING = "])}>\"'»”’" + string.whitespace
_KEPT, _LONGEST_KEPT = 2**17, 64


def tokenize(text: str) -> Iterator[str]:
    """Gives the tokens of each sentence.

    Args:
        text: lower-case text.

    Returns:
        An iterator of tokens; among those without a letter, quotation marks and
        periods may differ from NLTK's.
    """
    for sentence in _split_sentences(text):
        if "'" in sentence and _OTHER_SPACE.search(sentence):
            yield from _word_tokenizer().tokenize(sentence)
            continue
        body = sentence.rstrip().rstrip(_CLOSING).rstrip()
        *pieces, last = body.split() or [""]
        for piece in pieces:
            yield from _tokenize_piece(piece)
        yield from _tokenize_end(sentence[len(body) - len(last) :])


def _tokenize_piece(piece: str) -> tuple[str, ...]:
    if len(piece) > _LONGEST_KEPT:
        return _read_piece.__wrapped__(piece)
    return _read_piece(piece)


@functools.lru_cache(_KEPT)
def _read_piece(piece: str) -> tuple[str, ...]:
    if _PLAIN.fullmatch(piece) and not _CONTRACTION.search(piece):
        return tuple(_TOKEN.findall(piece))
    # Another word behind it, or its period would be that of a sentence.
    return tuple(_word_tokenizer().tokenize(f"{piece} x")[:-1])


def _tokenize_end(end: str) -> tuple[str, ...]:
    word = end.removesuffix(".")
    if _PLAIN.fullmatch(word) and "." not in word:
        return _tokenize_piece(word)
    return tuple(_word_tokenizer().tokenize(end))


def _split_sentences(text: str) -> list[str]:
    if "." in text or "?" in text or "!" in text:
        return _sentence_tokenizer().tokenize(text)
    return [text]


class _SentenceTokenizer(nltk.tokenize.PunktSentenceTokenizer):
    """Punkt, untrained: which letters and digits words have is nothing to it."""

    def text_contains_sentbreak(self, text: str) -> bool:
        return self._breaks(_LETTERS.sub("xx", _DIGITS.sub("00", text)))

    @functools.lru_cache(_KEPT)  # noqa: B019  there is one, for good
    def _breaks(self, text: str) -> bool:
        return super().text_contains_sentbreak(text)


@functools.cache
def _sentence_tokenizer() -> _SentenceTokenizer:
    # The untrained Punkt: the trained one knows English abbreviations, but its
    # data may be absent, and shards must not depend on what a machine has.
    return _SentenceTokenizer()


@functools.cache
def _word_tokenizer() -> nltk.tokenize.NLTKWordTokenizer:
    return nltk.tokenize.NLTKWordTokenizer()
