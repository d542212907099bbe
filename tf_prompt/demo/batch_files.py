"""The downloads of a batch: CSV, JSON Lines, and files with prompts."""

import csv
import dataclasses
import itertools
import json
import pathlib
import zipfile
from collections.abc import Callable, Sequence

from tf_prompt.data import metadata_writer
from tf_prompt.inference import image_bytes
from tf_prompt.inference.delivery import PHRASES, flatten

# Always the same names, whatever the folder is called.
CSV, JSON_LINES, ARCHIVE = "prompts.csv", "prompts.jsonl", "prompts.zip"


@dataclasses.dataclass(frozen=True)
class BatchRow:
    """One file of a batch.

    Attributes:
        name: the file's name, unique in the batch.
        results: one dict per model, as from `predict`: `path`, `prompt`, a score and
            more; empty for a bad file.
        error: what is wrong with the file, or None.
    """

    name: str
    results: list[dict]
    error: str | None = None


def write_tables(
    rows: Sequence[BatchRow],
    names: Sequence[str],
    columns: Sequence[str],
    folder: str | pathlib.Path,
) -> list[pathlib.Path]:
    """Writes a batch with the columns of `predict --csv`, one line per image and model.

    Args:
        rows: `BatchRow` of each file.
        names: names of the models; if there are several, a column has them.
        columns: names of the scores and of the tables of phrases, see `columns_of`.
        folder: folder for both files.

    Returns:
        The paths of the CSV and the JSON Lines file.
    """
    several = len(names) > 1
    lines = []
    for row in rows:
        if row.error is not None:
            lines.append({"path": row.name, "error": row.error})
        for model, result in zip(names, row.results, strict=False):
            lines.append({**result, "model": model} if several else result)
    folder = pathlib.Path(folder)
    heads = ["path", *["model"] * several, "prompt", *columns]
    heads += image_bytes.embedded_names()
    with open(folder / CSV, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, heads)
        table.writeheader()
        table.writerows(flatten(line, heads) for line in lines)
    with open(folder / JSON_LINES, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return [folder / CSV, folder / JSON_LINES]


def columns_of(scores: Sequence[str], tables: Sequence[str]) -> list[str]:
    """Returns the columns of a CSV between the prompt and the files' own metadata.

    Args:
        scores: names of the models' scores.
        tables: names of the tables of phrases.
    """
    names = [*scores, "error", *(f"{PHRASES}{name}" for name in tables)]
    return list(dict.fromkeys(names))


def write_archive(
    rows: Sequence[BatchRow],
    names: Sequence[str],
    reads: Sequence[Callable[[], bytes]],
    folder: str | pathlib.Path,
) -> pathlib.Path:
    """Writes a ZIP of the images with their prompts inside, and a `.txt` for each.

    If there are several models, each gets a folder. Files that cannot hold a prompt
    are left out, but not their `.txt`.

    Args:
        rows, names: as in `write_tables`.
        reads: functions that read the files of the rows.
        folder: folder for the file.

    Returns:
        The path of the ZIP.
    """
    path = pathlib.Path(folder) / ARCHIVE
    stems: set[str] = set()
    # Images are compressed already.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for row, read in zip(rows, reads, strict=True):
            if row.error is not None:
                continue
            stem, ending = _name_apart(row.name, stems)
            for number, result in enumerate(row.results):
                below = f"{_folder_name(names[number])}/" if len(names) > 1 else ""
                prompt = result["prompt"]
                archive.writestr(f"{below}{stem}.txt", f"{prompt}\n")
                try:
                    copy = metadata_writer.write_prompt(read(), prompt)
                except (OSError, ValueError):
                    continue
                archive.writestr(f"{below}{stem}{ending}", copy)
    return path


def _name_apart(name, stems):
    """Returns a unique stem, also for the `.txt`, and the ending."""
    path = pathlib.PurePosixPath(name)
    numbered = (f"{path.stem} ({number})" for number in itertools.count(2))
    stem = path.stem
    while stem.lower() in stems:
        stem = next(numbered)
    stems.add(stem.lower())
    return stem, path.suffix


def _folder_name(name):
    return name.replace("/", "_")
