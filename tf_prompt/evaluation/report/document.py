"""A report as blocks of text, tables and figures, and its rendering as Markdown."""

import dataclasses
import re

# Text for a fact or a score that a run does not have.
ABSENT = "not measured"


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Text without markup."""

    text: str


@dataclasses.dataclass(frozen=True)
class Points:
    """A list of texts without markup."""

    items: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Command:
    """A shell command for the reader."""

    line: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of strings.

    Args:
        header: one title per column.
        rows: cells, as many per row as in the header.
        num_text_columns: number of columns, from the left, that hold words; the
            others hold numbers.
        num_reference_rows: number of rows, at the end, with results from elsewhere.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int = 1
    num_reference_rows: int = 0


@dataclasses.dataclass(frozen=True)
class Figure:
    """A PNG file beside the report.

    Args:
        file: name of the file.
        caption: what the figure shows.
        light, dark: PNG bytes for a light and for a dark page.
    """

    file: str
    caption: str
    light: bytes
    dark: bytes


@dataclasses.dataclass(frozen=True)
class Details:
    """Blocks that the reader can unfold.

    Args:
        title: what they contain.
        blocks: blocks of the other kinds.
    """

    title: str
    blocks: tuple[Paragraph | Points | Command | Table | Figure, ...]


Block = Paragraph | Points | Command | Table | Figure | Details


@dataclasses.dataclass(frozen=True)
class Section:
    """Blocks under a title."""

    title: str
    blocks: tuple[Block, ...]


def to_markdown(title: str, sections: list[Section]) -> str:
    """Renders a report as Markdown, with all text escaped.

    Args:
        title: heading of the report.
        sections: its sections.
    """
    parts = [f"# {_escape(title)}"]
    for section in sections:
        parts.append(f"## {_escape(section.title)}")
        parts.extend(block_to_markdown(block) for block in section.blocks)
    return "\n\n".join(parts) + "\n"


def block_to_markdown(block: Block) -> str:
    """Renders one block as Markdown, without a trailing newline.

    Raises:
        ValueError: if it is not a `Block`.
    """
    match block:
        case Paragraph(text):
            return _escape(text)
        case Points(items):
            return "\n".join(f"- {_escape(item)}" for item in items)
        case Command(line):
            return f"    {' '.join(line.split())}"
        case Figure(file, caption):
            return f"![{_escape(caption)}]({file})"
        case Table():
            return _table_to_markdown(block)
        case Details(title, blocks):
            parts = (f"### {_escape(title)}", *map(block_to_markdown, blocks))
            return "\n\n".join(parts)
    raise ValueError(f"block must be a block of a report. Received: {block!r}")


def _table_to_markdown(table: Table) -> str:
    rows = [[_escape(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    rules = [
        "-" * width if index < table.num_text_columns else "-" * (width - 1) + ":"
        for index, width in enumerate(widths)
    ]
    lines = []
    for row in (rows[0], rules, *rows[1:]):
        cells = [
            cell.ljust(width) if index < table.num_text_columns else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _escape(text: str) -> str:
    # Names such as transformer_tiny stay readable: "_" between letters is plain text.
    escaped = re.sub(r"([\\`*<>|]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
    # Brackets make a link only when a parenthesis or a second pair follows.
    return re.sub(r"\](?=[(\[:])", r"\\]", escaped)
