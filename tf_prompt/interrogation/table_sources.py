"""Where tables of phrases come from: those that ship, files, another package."""

import importlib.util
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from tf_prompt.interrogation import phrases

# What ships, one file a table; the words of `NEGATIVES` say what pictures should not
# be, and go with the mode `negative` only.
SHIPPED = pathlib.Path(__file__).parent / "tables"
NAMES = ("media", "movements", "artists", "flavours", "settings", "negatives")
NEGATIVES = "negatives"
# Tables of the mode `negative`: an artist whom a picture is least like says nothing.
_NEGATIVE_MODE = ("flavours", NEGATIVES)
# The package of that name on PyPI, and which of its lists is which table.
PACKAGE = "clip_interrogator"
_PACKAGE_TABLES = {
    "mediums.txt": "media",
    "movements.txt": "movements",
    "artists.txt": "artists",
    "flavors.txt": "flavours",
    "negative.txt": NEGATIVES,
}


def check_names(names: Iterable[str]) -> None:
    """Checks that tables of these names ship.

    Raises:
        ValueError: if one does not; lists those that do.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(
                f"tables must be some of {', '.join(NAMES)}. Received: {name}"
            )


def read_shipped(names: Sequence[str] | None, mode: str) -> dict[str, list[str]]:
    """Reads tables that ship.

    Args:
        names: some of `NAMES`; None takes those that go with the mode.
        mode: one of `config.MODES`.

    Raises:
        ValueError: for an unknown name.
    """
    if names is None:
        names = default_names(mode)
    check_names(names)
    tables = {name: phrases.read_table(SHIPPED / f"{name}.txt") for name in names}
    return _introduce(tables)


def default_names(mode: str) -> list[str]:
    """Names of the tables that ship which a mode takes."""
    if mode == "negative":
        return list(_NEGATIVE_MODE)
    return [name for name in NAMES if name != NEGATIVES]


def read_added(sources: Iterable[str], mode: str) -> dict[str, list[str]]:
    """Reads what a user adds.

    Args:
        sources: files of one phrase a line, each a table of the file's stem; folders of
            such files; and `clip_interrogator`, for the lists of that package.
        mode: one of `config.MODES`; of the package's lists it takes those that go
            with it.

    Returns:
        Phrases by table.

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
    """Adds tables; phrases of an equal name join those that are there."""
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
    # Located without an import, which would load PyTorch.
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
    """Makes bare names of artists what prompts say of them."""
    artists = tables.get("artists")
    if artists:
        tables = {**tables, "artists": [f"by {name}" for name in artists]}
    return tables
