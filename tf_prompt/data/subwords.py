"""Byte-level byte-pair encoding: tokens for any text.

As in GPT-2, bytes are written as printable letters, so that tokens can be stored in
text files: a space is `Ġ`, other printable ASCII is itself.

Reference: Sennrich et al., 2016, https://arxiv.org/abs/1508.07909; on bytes, Radford
et al., 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
"""

import json
import pathlib
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

# Printable bytes are their own Latin-1 letters; the others get letters beyond Latin-1.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(256 + index): byte for index, byte in enumerate(_OTHERS)
}
ALPHABET = sorted(_BYTE_OF, key=_BYTE_OF.__getitem__)
# A pair that occurs once says nothing about other prompts.
_MIN_FREQUENCY = 2


def to_bytes(token: str) -> bytes:
    """Returns the bytes of a token.

    Raises:
        ValueError: if a letter does not stand for a byte.
    """
    try:
        return bytes(_BYTE_OF[letter] for letter in token)
    except KeyError as error:
        raise ValueError(f"a token must be of bytes. Received: {token!r}") from error


def learn(
    prompts: Iterable[str], max_size: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """Learns byte pairs from prompts, the most frequent pairs first.

    Args:
        prompts: iterable of str, read once.
        max_size: int, at least 256. Largest number of tokens; all single bytes are
            tokens.

    Returns:
        The list of tokens, and the list of pairs in the order of merging.

    Raises:
        ValueError: if `max_size` is too small.
    """
    if max_size < len(ALPHABET):
        raise ValueError(
            f"vocab_size must hold 4 special tokens and {len(ALPHABET)} bytes. "
            f"Received: {max_size + 4}"
        )
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = _cutter()
    trainer = trainers.BpeTrainer(
        vocab_size=max_size,
        min_frequency=_MIN_FREQUENCY,
        initial_alphabet=ALPHABET,
        show_progress=False,
    )
    learner.train_from_iterator(prompts, trainer)
    content = _model_of(learner)
    tokens = sorted(content["vocab"], key=content["vocab"].__getitem__)
    return tokens, [tuple(pair) for pair in content["merges"]]


def build_tokenizer(
    tokens: Sequence[str], merges: Sequence[tuple[str, str]]
) -> tokenizers.Tokenizer:
    """Builds a tokenizer whose ids are the positions of tokens in the list.

    Special tokens in a text are read as plain letters, so no prompt can end itself.

    Args:
        tokens: tokens in the order of their ids, special tokens first.
        merges: pairs of tokens in the order of merging.
    """
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=list(merges)))
    tokenizer.pre_tokenizer = _cutter()
    return tokenizer


def write_merges(merges: Sequence[tuple[str, str]], path: pathlib.Path) -> None:
    """Writes one pair per line, its tokens separated by a space."""
    lines = "".join(f"{first} {second}\n" for first, second in merges)
    path.write_text(lines, encoding="utf-8")


def read_merges(path: pathlib.Path) -> list[tuple[str, str]]:
    """Reads a file written by `write_merges`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"subwords need {path.name}. Received: {path}")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"merges must be UTF-8 text. Received: {path}") from error
    pairs = [tuple(line.split(" ")) for line in lines[:-1]]
    if lines[-1] or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"merges must be pairs of tokens, complete. Received: {path}")
    return pairs


def _cutter():
    # Words with the space before them, numbers, punctuation: no token crosses these.
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _model_of(tokenizer) -> dict:
    return json.loads(tokenizer.to_str())["model"]
