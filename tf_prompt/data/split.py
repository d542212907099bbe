"""Which split a prompt belongs to: a hash, so that no global state is needed."""

import hashlib
from collections.abc import Sequence

SPLITS = ("train", "validation", "test")
VALIDATION_RATE = TEST_RATE = 0.05


def split_of(
    words: Sequence[str],
    validation: float = VALIDATION_RATE,
    test: float = TEST_RATE,
) -> str:
    """Names the split of a normalised prompt: by default 90 % train, 5 % and 5 %.

    Equal words always give the same split, on every machine, so no prompt lies
    in two splits however many images it has.

    Args:
        words: the words of `text.split_words`.
        validation: share of that split, 0-1.
        test: share of that split, 0-1; the rest is train.

    Returns:
        One of `SPLITS`.
    """
    digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64
    # Rounded: 1 - 0.05 - 0.05 is a hair below 0.9.
    train = round(1 - validation - test, 12)
    if position < train:
        return "train"
    if position < train + validation or not test:
        return "validation"
    return "test"
