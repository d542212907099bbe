"""Names that Keras and TensorFlow do not promise, with the versions that have them.

Training reads some and overrides others. A version without one of them must not
train: what overrides a name that is gone would be passed over without a word.
"""

import importlib
import operator

# Beginnings of the versions that the tests of `tests/training` passed with.
TRIED = {"keras": ("Keras", "3.15."), "tensorflow": ("TensorFlow", "2.21.")}


def require(package: str, thing, *names: str) -> None:
    """Checks that a class, an object or a module has private names.

    Args:
        package: whose names they are, of `TRIED`.
        thing: what has them.
        *names: attributes; dots lead to those of attributes.

    Raises:
        ValueError: if one is missing; names it, and the version to install.
    """
    for name in names:
        try:
            operator.attrgetter(name)(thing)
        except AttributeError as error:
            owner = getattr(thing, "__name__", type(thing).__name__)
            raise ValueError(f"{owner}.{name} is gone: {_complain(package)}") from error


def require_tried(package: str, what: str) -> None:
    """Checks that a version is known, for what depends on more than names.

    Raises:
        ValueError: if it is not; begins with `what`.
    """
    if not _version(package).startswith(TRIED[package][1]):
        raise ValueError(f"{what} {_complain(package)}")


def _complain(package) -> str:
    name, version = TRIED[package]
    return (
        f"tf_prompt was tried with {name} {version}x only. Received: "
        f"{_version(package)}; install the former, or run tests/training with the "
        f"latter and note it in tf_prompt.training.private_names"
    )


def _version(package) -> str:
    return importlib.import_module(package).__version__
