"""Writes a summary as one HTML file, without scripts or network."""

import html
import os
import pathlib
from collections.abc import Mapping

from pipelines.exploration import markup, sections
from pipelines.exploration.plots import NAMES
from tf_prompt.files import find_present, read_json, take_over, write_whole

_FILES = ("summary.json", "index.html", *(f"plots/{name}.png" for name in NAMES))
_STYLE = pathlib.Path(__file__).with_name("page.css")


def prepare_folder(output: pathlib.Path, force: bool = False) -> None:
    """Creates the output folder, and `plots/` in it.

    Args:
        output: the folder.
        force: whether to replace files that `inspect` did not write.

    Raises:
        OSError: if it cannot be created or written.
        ValueError: if it holds such files and `force` is False.
    """
    if not _is_ours(output):
        take_over(output, "inspect", find_present(output, _FILES), force)
    try:
        (output / "plots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"output must be a folder. Received: {output}: {error}") from (
            error
        )
    if not os.access(output / "plots", os.W_OK | os.X_OK):
        raise PermissionError(f"output must be writable. Received: {output}")


def write_page(
    summary: dict, plots: Mapping[str, pathlib.Path], path: pathlib.Path
) -> None:
    """Writes the page atomically, with its plots inside.

    Args:
        summary: content of `summary.json`.
        plots: dict from name to PNG file.
        path: the page.
    """
    write_whole(path, _render(summary, plots).encode())


def _is_ours(output: pathlib.Path) -> bool:
    """Whether the folder holds a summary of `inspect`, which is written first."""
    try:
        summary = read_json(output / "summary.json")
    except (OSError, ValueError):
        return False
    ours = {"source", "rows", "filters", "prompts", "lengths", "words"}
    return isinstance(summary, dict) and ours <= summary.keys()


def _render(summary: dict, plots: Mapping[str, pathlib.Path]) -> str:
    name = html.escape(summary["source"]["name"])
    contents = {
        "Filters": sections.render_filters(summary, plots),
        "Prompts": sections.render_prompts(summary["prompts"]),
        "Prompt syntax": sections.render_syntax(summary["syntax"]),
        "Prompt lengths": sections.render_lengths(summary["lengths"], plots),
        "Categories": sections.render_categories(summary, plots),
        "Words": sections.render_words(summary, plots),
        "Image sizes": sections.render_sizes(summary, plots),
        "Settings": sections.render_settings(summary, plots),
    }
    links = "".join(f'<a href="#{_anchor(t)}">{t}</a>' for t in contents)
    body = "".join(
        f'<section id="{_anchor(title)}"><h2>{title}</h2>{content}</section>'
        for title, content in contents.items()
    )
    notes = [f"{note[:1].upper()}{note[1:]}." for note in summary["source"]["notes"]]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: what the source holds</title>
<style>{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>What {name} holds</h1>
<p class="soft">Source: <code>{html.escape(str(summary["source"]["path"]))}</code></p>
{"".join(f'<p class="soft">{html.escape(note)}</p>' for note in notes)}
{_render_facts(summary)}
<nav>{links}</nav>
</header>
<main>{body}</main>
</body>
</html>
"""


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _render_facts(summary: dict) -> str:
    rows, prompts = summary["rows"], summary["prompts"]
    cut = summary["lengths"]["cut"]
    kept = f"{markup.share(rows['after'], rows['before'])} of all"
    facts = [
        ("images", rows["before"], "rows of the table"),
        ("kept by the filters", rows["after"], kept),
        (
            "distinct prompts",
            prompts["normalised"]["before"],
            f"{prompts['raw']['before']:,} as written",
        ),
        (
            "longer than the cut",
            markup.share(cut["before"], rows["before"]),
            f"{cut['before']:,} images",
        ),
    ]
    items = (
        f"<div><dt>{label}</dt><dd>{markup.text_of(value)}<small>{note}</small></dd></div>"
        for label, value, note in facts
    )
    return f'<dl class="facts">{"".join(items)}</dl>'
