"""Finds out which packages and extras of tf_prompt are installed."""

import dataclasses
from importlib import metadata

from packaging.requirements import Requirement

_NAME = "tf_prompt"
# `all` is the others together; `test` and `fuzz` are for developers of tf_prompt.
_HIDDEN = ("all", "test", "fuzz")


@dataclasses.dataclass(frozen=True)
class Extra:
    """An extra of tf_prompt, and which of its packages are installed.

    Attributes:
        name: as in `pip install "tf_prompt[NAME]"`; "" for the core.
        packages: dict from package to its version; None if it is not installed.
        missing: requirements that are not installed, or of the wrong version.
    """

    name: str
    packages: dict[str, str | None]
    missing: tuple[str, ...]


def list_extras() -> list[Extra]:
    """Returns the core and the extras of tf_prompt.

    Returns:
        list of `Extra`; the core is first.

    Raises:
        ValueError: if tf_prompt is not installed, but found on `PYTHONPATH`.
    """
    try:
        about = metadata.metadata(_NAME)
    except metadata.PackageNotFoundError as error:
        raise ValueError(
            "tf_prompt must be installed, or its packages are unknown. Received: a "
            "checkout. Run there: pip install -c constraints.txt -e ."
        ) from error
    names = [n for n in about.get_all("Provides-Extra") or [] if n not in _HIDDEN]
    return [_look_at(name) for name in ["", *sorted(names)]]


def _look_at(extra: str) -> Extra:
    core = {r.name for r in _requirements(_NAME, "")} if extra else ()
    wanted = [r for r in _with_inner(_requirements(_NAME, extra)) if r.name not in core]
    found = {r.name: find_version(r.name) for r in wanted}
    missing = [r for r in wanted if not _fits(r, found[r.name])]
    return Extra(extra, found, tuple(f"{r.name}{r.specifier}" for r in missing))


def _requirements(package: str, extra: str) -> list[Requirement]:
    """Returns what an extra of a package requires on this machine beyond its core."""
    found = map(Requirement, metadata.requires(package) or [])
    return [
        requirement
        for requirement in found
        if _applies(requirement, extra) and not (extra and _applies(requirement, ""))
    ]


def _applies(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is None or marker.evaluate({"extra": extra})


def _with_inner(requirements: list[Requirement]) -> list[Requirement]:
    """Adds what the extras of other packages require, as in tensorflow[and-cuda]."""
    inner = [
        wanted
        for requirement in requirements
        if find_version(requirement.name)
        for extra in sorted(requirement.extras)
        for wanted in _requirements(requirement.name, extra)
    ]
    return requirements + (_with_inner(inner) if inner else [])


def _fits(requirement: Requirement, version: str | None) -> bool:
    return version is not None and requirement.specifier.contains(
        version, prereleases=True
    )


def find_version(package: str) -> str | None:
    """Returns the version of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
