"""Checks for private names of Keras and TensorFlow that training depends on.

Training reads some and overrides others. A version that lacks one must not train: an
override of a name that no longer exists would silently be ignored.
"""

import importlib
import operator

# Prefixes of the versions with which `tests/training` passed.
TRIED = {"keras": ("Keras", "3.15."), "tensorflow": ("TensorFlow", "2.21.")}


def require(package: str, thing, *names: str) -> None:
    """Checks that a class, an object or a module has certain private names.

    Args:
        package: the package that defines them, a key of `TRIED`.
        thing: the class, object or module.
        *names: attributes, possibly dotted.

    Raises:
        ValueError: if one is missing; the message names it and the version to
            install.
    """
    for name in names:
        try:
            operator.attrgetter(name)(thing)
        except AttributeError as error:
            owner = getattr(thing, "__name__", type(thing).__name__)
            raise ValueError(
                f"{owner}.{name} does not exist: {_complain(package)}"
            ) from error


def require_tried(package: str, what: str) -> None:
    """Checks that a package's version was tested, where names alone do not suffice.

    Args:
        package: a key of `TRIED`.
        what: start of the message.

    Raises:
        ValueError: if it was not.
    """
    if not _version(package).startswith(TRIED[package][1]):
        raise ValueError(f"{what} {_complain(package)}")


def _complain(package) -> str:
    name, version = TRIED[package]
    return (
        f"tf_prompt was tested with {name} {version}x only. Received: "
        f"{_version(package)}; install the former, or run tests/training with the "
        f"latter and note it in tf_prompt.training.private_names"
    )


def _version(package) -> str:
    return importlib.import_module(package).__version__
