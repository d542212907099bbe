"""Checks of constructor arguments that layers and models share."""


def check_positive(**arguments: float) -> None:
    """Raises a ValueError for the first argument that is not above 0."""
    for name, value in arguments.items():
        if value <= 0:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
