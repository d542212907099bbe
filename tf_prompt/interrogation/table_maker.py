"""Builds tables of phrases from a file of prompts."""

import csv
import pathlib

from tf_prompt import files
from tf_prompt.interrogation import phrases

_COMMAND = "interrogate --make-tables"
_DELIMITERS = ",;\t"
_COLUMN = "prompt"


def make_tables(
    source: str, output: str, min_count: int, force: bool = False
) -> dict[str, int]:
    """Writes the tables of a file of prompts, see `phrases.build_tables`.

    Args:
        source: see `read_prompts`.
        output: folder for one file per table; created if missing. Other files in it
            stay as they are.
        min_count: int > 0, smallest number of prompts with a phrase.
        force: whether to replace foreign files.

    Returns:
        dict of the number of phrases in each table.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no prompts, no phrase is frequent enough, or a foreign
            file would be replaced.
    """
    prompts = read_prompts(source)
    tables = phrases.build_tables(prompts, min_count)
    if not tables:
        raise ValueError(
            f"prompts must share phrases: none is in {min_count} of {len(prompts)}. "
            f"Received: {source}; --min-count takes a lower number"
        )
    folder = pathlib.Path(output)
    names = {f"{name}.txt" for name in tables}
    written = files.read_manifest(folder).get(_COMMAND, {}).get("files", [])
    found = files.find_present(folder, names.difference(written))
    files.take_over(folder, _COMMAND, found, force)
    folder.mkdir(parents=True, exist_ok=True)
    files.note_files(folder, _COMMAND, {*names, *written})
    phrases.write_tables(tables, folder)
    # Tables of earlier prompts, which must not mix with the new ones.
    for name in set(written) - names:
        (folder / name).unlink(missing_ok=True)
    files.note_files(folder, _COMMAND, names)
    return {name: len(table) for name, table in tables.items()}


def read_prompts(source: str) -> list[str]:
    """Reads prompts, including repeated ones.

    Args:
        source: a `.txt` file with one prompt per line, or a CSV file with a column
            `prompt`, separated by commas, semicolons or tabs.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has another format, or holds no prompts.
    """
    path = pathlib.Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"make_tables must be a file. Received: {path}")
    with files.open_csv(path) as file:
        if path.suffix.lower() == ".txt":
            found = file.read().split("\n")
        else:
            found = list(_read_column(file, path))
    prompts = [prompt.strip() for prompt in found if prompt and prompt.strip()]
    if not prompts:
        raise ValueError(f"make_tables must hold prompts. Received: {path}")
    return prompts


def _read_column(file, path):
    header = file.readline()
    titles: list[str] = []
    for delimiter in _DELIMITERS:
        titles = [
            title.strip()
            for title in next(csv.reader([header], delimiter=delimiter), [])
        ]
        if _COLUMN in titles:
            break
    else:
        raise ValueError(
            f"make_tables must be a .txt file, or a CSV with a column {_COLUMN}. "
            f"Received: {path} with {header.strip()[:100]}"
        )
    column = titles.index(_COLUMN)
    for row in csv.reader(file, delimiter=delimiter):
        if len(row) > column:
            yield row[column]
