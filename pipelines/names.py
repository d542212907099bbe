"""Names of files that another system writes in another form."""

import os
import pathlib
import unicodedata
from collections.abc import Collection, Sequence


def match_names(names: Sequence[str], present: Collection[str]) -> list[str]:
    """Replaces names by existing ones that differ only in their Unicode form.

    A Mac splits `é` into a letter and an accent; other systems do not.

    Args:
        names: the names in a table.
        present: the names of existing files.

    Returns:
        The names in order; those that exist, or exist in no form, are unchanged.
    """
    present = set(present)
    if present.issuperset(names):
        return list(names)
    known = {_compose(name): name for name in sorted(present)}
    return [n if n in present else known.get(_compose(n), n) for n in names]


class FileFinder:
    """Finds files by names that may come from Windows or from a Mac.

    Args:
        root: folder to which relative names refer.
    """

    def __init__(self, root: str | pathlib.Path):
        self._root = root
        self._known: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str | None:
        """Returns a file's name as on disk; None if there is no such file.

        Args:
            name: a path; if there is no file of exactly this name, `\\` counts as `/`,
                and all Unicode forms are equal.
        """
        # Not pathlib, which raises if a name is too long.
        if os.path.isfile(os.path.join(self._root, name)):
            return name
        found = ""
        for part in name.replace("\\", "/").split("/"):
            folder = os.path.join(self._root, found or ".")
            # The first part is empty if the name is absolute.
            found += f"{self._list(folder).get(_compose(part), part)}/"
        found = found[:-1]
        return found if os.path.isfile(os.path.join(self._root, found)) else None

    def _list(self, folder: str) -> dict[str, str]:
        if folder not in self._known:
            try:
                entries = sorted(os.listdir(folder))
            except (OSError, ValueError):
                entries = []
            self._known[folder] = {_compose(entry): entry for entry in entries}
        return self._known[folder]


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)
