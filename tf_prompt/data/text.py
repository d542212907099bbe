"""The text rule of prompts, and the vocabulary that gives words their ids."""

import collections
import functools
import itertools
import pathlib
import re
import unicodedata
from collections.abc import Sequence

from tf_prompt.data import tokens

MAX_WORDS = 30
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[START]", "[END]")
PAD_ID, UNK_ID, START_ID, END_ID = range(4)

_HAS_DIGIT = re.compile(r"\d")


def split_words(prompt: str, max_words: int | None = MAX_WORDS) -> list[str]:
    """Applies the text rule: returns the words of a prompt that a model learns.

    Lower case; Punkt sentences, then NLTK words; tokens without a letter or with a
    digit are dropped. Neither tokenizer needs downloaded data, so every machine gives
    the same words.

    Args:
        prompt: the original text.
        max_words: largest number of words; None keeps all.

    Returns:
        list of words, in order; may be empty.

    Reference: Kalisz, slides "Data set and data processing".
    """
    words = filter(_is_word, tokens.tokenize(prompt.lower()))
    return list(itertools.islice(words, max_words))


def normalise(prompt: str, max_words: int | None = MAX_WORDS) -> str:
    """Returns the words of `split_words` joined by spaces; arguments as there."""
    return " ".join(split_words(prompt, max_words))


def tidy(prompt: str, fold_case: bool = False) -> str:
    """Puts an original prompt on one line: runs of white space become one space.

    Args:
        prompt: the text.
        fold_case: whether to convert to lower case.
    """
    line = " ".join(prompt.split())
    return line.lower() if fold_case else line


@functools.lru_cache(2**17)
def _is_word(token: str) -> bool:
    if _HAS_DIGIT.search(token):
        return False
    return any(unicodedata.category(character)[0] == "L" for character in token)


def build_vocabulary(counts: collections.Counter, max_size: int) -> list[str]:
    """Lists the special tokens, then the most frequent words.

    Args:
        counts: number of occurrences of each word in the training split.
        max_size: largest size, special tokens included.

    Returns:
        list of tokens in the order of their ids; ties in alphabetical order.

    Raises:
        ValueError: if `max_size` leaves no room for a word, or there are no words.
    """
    room = max_size - len(SPECIAL_TOKENS)
    if room < 1:
        raise ValueError(
            f"vocab_size must exceed the {len(SPECIAL_TOKENS)} special tokens. "
            f"Received: {max_size}"
        )
    if not counts:
        raise ValueError("the training split must hold words. Received: none")
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return [*SPECIAL_TOKENS, *ranked[:room]]


def write_vocabulary(vocabulary: Sequence[str], path: str | pathlib.Path) -> None:
    """Writes one token per line; the line number, from 0, is the id."""
    pathlib.Path(path).write_text("\n".join(vocabulary) + "\n", encoding="utf-8")


def read_vocabulary(path: str | pathlib.Path) -> list[str]:
    """Reads a file written by `write_vocabulary`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not UTF-8, is truncated, does not start with the
            special tokens, or repeats a token.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"vocabulary must be a file. Received: {path}")
    try:
        *entries, rest = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"a vocabulary must be UTF-8 text. Received: {path}"
        ) from error
    if rest:
        raise ValueError(
            f"a vocabulary must end with a line break: it is cut. Received: {path}"
        )
    if tuple(entries[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise ValueError(
            f"a vocabulary must begin with {' '.join(SPECIAL_TOKENS)}. Received: {path}"
        )
    if len(set(entries)) != len(entries):
        raise ValueError(f"a vocabulary must not repeat a token. Received: {path}")
    return entries
