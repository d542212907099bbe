"""Which values an option may have; every error names the option and its value."""

from collections.abc import Callable, Sequence


def require_positive(config, *names: str) -> None:
    """Checks that the named fields are above zero, or None.

    Raises:
        ValueError: naming the first that is not.
    """
    rule = "must be positive"
    _require(config, names, lambda value: value is None or value > 0, rule)


def require_not_negative(config, *names: str) -> None:
    """Checks that the named fields are zero or above, or None.

    Raises:
        ValueError: naming the first that is not.
    """
    rule = "must not be negative"
    _require(config, names, lambda value: value is None or value >= 0, rule)


def require_rate(config, *names: str) -> None:
    """Checks that the named fields lie in [0, 1).

    Raises:
        ValueError: naming the first that does not.
    """
    rule = "must be at least 0, below 1"
    _require(config, names, lambda value: 0 <= value < 1, rule)


def _require(config, names: Sequence[str], holds: Callable, rule: str) -> None:
    for name in names:
        value = getattr(config, name)
        # NaN holds to no rule.
        if not holds(value):
            raise ValueError(f"{name} {rule}. Received: {value}")
