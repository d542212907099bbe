"""Assigns prompts to splits by a hash, without global state."""

import hashlib
from collections.abc import Sequence

SPLITS = ("train", "validation", "test")
VALIDATION_RATE = TEST_RATE = 0.05


def split_of(
    words: Sequence[str],
    validation: float = VALIDATION_RATE,
    test: float = TEST_RATE,
    shift: float = 0.0,
) -> str:
    """Returns the split of a prompt; by default 90 % are for training, 5 % each other.

    Equal words give the same split on every machine, so no prompt is in two splits,
    however many images it has.

    Args:
        words: result of `text.split_words`.
        validation: share of prompts for validation, 0-1.
        test: share of prompts for testing, 0-1; the rest is for training.
        shift: 0-1, moves the shares round the circle of hashes. With a `test` of 1 / n,
            the shifts 0, 1 / n, 2 / n, … give n folds, and each prompt is for testing
            in one of them.

    Returns:
        One of `SPLITS`.
    """
    digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
    position = (int.from_bytes(digest, "big") / 2**64 + shift) % 1
    # Rounded, because 1 - 0.05 - 0.05 is slightly below 0.9.
    train = round(1 - validation - test, 12)
    if position < train:
        return "train"
    if position < train + validation or not test:
        return "validation"
    return "test"
