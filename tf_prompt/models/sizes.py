"""Sizes of models, and the table of a dry run."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a model takes to serve.

    Args:
        parameters: numbers in its weights.
        weights: their bytes.
        state: bytes that decoding keeps from step to step.
        batch: peak bytes of a batch's tensors, the state among them.
    """

    parameters: int
    weights: int
    state: int
    batch: int


def format_megabytes(count: int) -> str:
    """Formats a number of bytes for a dry run, in MB of 2^20 bytes."""
    return f"{count / 2**20:,.0f} MB"


def format_rows(rows: Sequence[tuple[str, str]]) -> str:
    """Formats names and values, one pair a line."""
    width = max(22, *(len(name) + 2 for name, _ in rows))
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
