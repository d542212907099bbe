"""A report as blocks of text and tables, and these as Markdown."""

import dataclasses
import re

# In place of a fact or a score that a run does not have.
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
    """A line for the reader's shell."""

    line: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of texts.

    Args:
        header: a title a column.
        rows: texts, as many as the header has.
        num_text_columns: columns from the left that hold words; the others hold
            numbers.
        num_reference_rows: rows from the end that come from elsewhere.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int = 1
    num_reference_rows: int = 0


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG in a file beside the report.

    Args:
        file: its name.
        caption: what it shows.
        light, dark: the PNG for pages of either ground.
    """

    file: str
    caption: str
    light: bytes
    dark: bytes


@dataclasses.dataclass(frozen=True)
class Details:
    """Blocks that a page shows when the reader asks for them.

    Args:
        title: what they hold.
        blocks: none of them of this kind.
    """

    title: str
    blocks: tuple[Paragraph | Points | Command | Table | Picture, ...]


Block = Paragraph | Points | Command | Table | Picture | Details


@dataclasses.dataclass(frozen=True)
class Section:
    """Blocks under a title."""

    title: str
    blocks: tuple[Block, ...]


def to_markdown(title: str, sections: list[Section]) -> str:
    """Writes a report as Markdown, all text escaped."""
    parts = [f"# {_escape(title)}"]
    for section in sections:
        parts.append(f"## {_escape(section.title)}")
        parts.extend(block_to_markdown(block) for block in section.blocks)
    return "\n\n".join(parts) + "\n"


def block_to_markdown(block: Block) -> str:
    """Writes one block as Markdown, without a newline at its end."""
    match block:
        case Paragraph(text):
            return _escape(text)
        case Points(items):
            return "\n".join(f"- {_escape(item)}" for item in items)
        case Command(line):
            return f"    {' '.join(line.split())}"
        case Picture(file, caption):
            return f"![{_escape(caption)}]({file})"
        case Table():
            return _table_to_markdown(block)
        case Details(title, blocks):
            parts = (f"### {_escape(title)}", *map(block_to_markdown, blocks))
            return "\n\n".join(parts)
    raise ValueError(f"block must be one of a report's. Received: {block!r}")


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
    # A name such as transformer_tiny stays readable: between letters "_" is text.
    escaped = re.sub(r"([\\`*<>|]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
    # Brackets make a link only with a parenthesis or a second pair behind them.
    return re.sub(r"\](?=[(\[:])", r"\\]", escaped)
