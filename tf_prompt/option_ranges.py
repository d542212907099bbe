"""Which values an option may have; every error names the option and its value."""


def require_positive(config, *names: str) -> None:
    """Checks that the named fields are above zero.

    Raises:
        ValueError: naming the first that is not.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive. Received: {value}")


def require_not_negative(config, *names: str) -> None:
    """Checks that the named fields are zero or above.

    Raises:
        ValueError: naming the first that is not.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= 0:
            raise ValueError(f"{name} must not be negative. Received: {value}")


def require_rate(config, *names: str) -> None:
    """Checks that the named fields lie in [0, 1).

    Raises:
        ValueError: naming the first that does not.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0, below 1. Received: {value}")
