"""Which split a prompt belongs to: a hash, so that no global state is needed."""

import hashlib
from collections.abc import Sequence

SPLITS = ("train", "validation", "test")
TRAIN_RATE, VALIDATION_RATE = 0.90, 0.05


def split_of(words: Sequence[str]) -> str:
    """Names the split of a normalised prompt: 90 % train, 5 % and 5 %.

    Equal words always give the same split, on every machine, so no prompt lies
    in two splits however many images it has.

    Args:
        words: the words of `text.split_words`.

    Returns:
        One of `SPLITS`.
    """
    digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64
    if position < TRAIN_RATE:
        return "train"
    if position < TRAIN_RATE + VALIDATION_RATE:
        return "validation"
    return "test"
