"""Pieces of HTML; all text from a source is escaped here."""

import base64
import html
import pathlib
from collections.abc import Mapping, Sequence


def figure(name: str, plots: Mapping[str, pathlib.Path], caption: str) -> str:
    """Embeds a plot in the page.

    Args:
        name: name of the plot.
        plots: dict from name to PNG file.
        caption: what the plot shows.

    Returns:
        HTML; empty if the plot was not drawn.
    """
    if name not in plots:
        return ""
    data = base64.b64encode(plots[name].read_bytes()).decode()
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def details(title: str, content: str) -> str:
    """Folds `content`, which is HTML, under a title."""
    return f"<details><summary>{title}</summary>{content}</details>"


def list_values(entries: Sequence[dict], title: str) -> str:
    """Renders a list of `value`, `before` and `after` under a title."""
    rows = [(str(e["value"]), e["before"], e["after"]) for e in entries]
    return table((title, "all", "kept"), rows)


def table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Renders rows; a column whose first value is a number is aligned as numbers."""
    first = rows[0] if rows else header
    marks = ["" if isinstance(value, str) else ' class="number"' for value in first]
    head = _cells("th", marks, header)
    body = "".join(f"<tr>{_cells('td', marks, row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(tag: str, marks: Sequence[str], values: Sequence) -> str:
    return "".join(
        f"<{tag}{mark}>{text_of(value)}</{tag}>"
        for mark, value in zip(marks, values, strict=True)
    )


def text_of(value) -> str:
    """Renders a cell: numbers with separators, text escaped."""
    if value is None:
        return "–"
    return html.escape(value) if isinstance(value, str) else f"{value:,}"


def both(counts: Mapping) -> tuple:
    """Returns the number before the filters and the one after."""
    return counts["before"], counts["after"]


def share(part: int, whole: int) -> str:
    """Formats a share in percent; a dash if the whole is 0."""
    return f"{part / whole:.1%}" if whole else "–"
