"""Sources of phrase tables: built-in tables, files, another package."""

import importlib.util
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from tf_prompt.interrogation import phrases

# Built-in tables, one file each. `NEGATIVES` describes what images should not be; it is
# for the mode `negative` only.
SHIPPED = pathlib.Path(__file__).parent / "tables"
NAMES = ("media", "movements", "artists", "flavours", "settings", "negatives")
NEGATIVES = "negatives"
# Tables of the mode `negative`, in which the least similar artist would mean nothing.
_NEGATIVE_MODE = ("flavours", NEGATIVES)
# The package of that name on PyPI, and the tables of its lists.
PACKAGE = "clip_interrogator"
_PACKAGE_TABLES = {
    "mediums.txt": "media",
    "movements.txt": "movements",
    "artists.txt": "artists",
    "flavors.txt": "flavours",
    "negative.txt": NEGATIVES,
}


def check_names(names: Iterable[str]) -> None:
    """Checks that there are built-in tables of these names.

    Raises:
        ValueError: if there is no such table; the message lists the names.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(
                f"tables must be some of {', '.join(NAMES)}. Received: {name}"
            )


def read_shipped(names: Sequence[str] | None, mode: str) -> dict[str, list[str]]:
    """Reads built-in tables.

    Args:
        names: some of `NAMES`; None takes those of the mode.
        mode: one of `config.MODES`.

    Returns:
        dict from table to phrases.

    Raises:
        ValueError: for an unknown name.
    """
    if names is None:
        names = default_names(mode)
    check_names(names)
    tables = {name: phrases.read_table(SHIPPED / f"{name}.txt") for name in names}
    return _introduce(tables)


def default_names(mode: str) -> list[str]:
    """Returns the names of a mode's built-in tables."""
    if mode == "negative":
        return list(_NEGATIVE_MODE)
    return [name for name in NAMES if name != NEGATIVES]


def read_added(sources: Iterable[str], mode: str) -> dict[str, list[str]]:
    """Reads a user's tables.

    Args:
        sources: files with one phrase per line, each a table named after the file;
            folders of such files; and `clip_interrogator`, the lists of that package.
        mode: one of `config.MODES`, which selects among the package's lists.

    Returns:
        dict from table to phrases.

    Raises:
        FileNotFoundError, ValueError: as `phrases.read_tables`; if the package is not
            installed; if a folder holds no file of phrases.
    """
    tables: dict[str, list[str]] = {}
    for source in sources:
        if source == PACKAGE:
            found = _read_package(mode)
        else:
            found = phrases.read_tables(_list_files(pathlib.Path(source)))
        tables = join_tables(tables, found)
    return tables


def join_tables(
    tables: Mapping[str, Sequence[str]], added: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Adds tables; phrases of tables with the same name are combined.

    Args:
        tables: dict from table to phrases.
        added: more tables; their phrases come after those of `tables`.
    """
    return {
        name: list(dict.fromkeys([*tables.get(name, ()), *added.get(name, ())]))
        for name in dict.fromkeys([*tables, *added])
    }


def _list_files(path) -> list[pathlib.Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.txt"))
    if not found:
        raise ValueError(f"a folder of phrases must hold .txt files. Received: {path}")
    return found


def _read_package(mode):
    # Without importing the package, which would load PyTorch.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"phrases must be files, or {PACKAGE} where that package is installed: "
            f"pip install --no-deps clip-interrogator. Received: {PACKAGE}"
        )
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "data"
    wanted = default_names(mode)
    tables = {
        table: [phrase.lower() for phrase in phrases.read_table(folder / file)]
        for file, table in _PACKAGE_TABLES.items()
        if table in wanted
    }
    return _introduce(tables)


def _introduce(tables):
    """Puts "by" before the names of artists, as in prompts."""
    artists = tables.get("artists")
    if artists:
        tables = {**tables, "artists": [f"by {name}" for name in artists]}
    return tables
