"""Renders a report as one self-contained HTML file, without scripts or network."""

import base64
import html
import re

from tf_prompt.evaluation.report.document import (
    Block,
    Command,
    Details,
    Figure,
    Paragraph,
    Points,
    Section,
    Table,
)

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1d2733; --soft: #5b6875; --paper: #f6f7f9; --card: #ffffff;
  --line: #dfe3e8; --accent: #00629b; --tint: #f1f4f7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6eaee; --soft: #9aa7b4; --paper: #12171d; --card: #1b222a;
    --line: #313b46; --accent: #6bbcf0; --tint: #222b35;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem;
  background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 0 0 .5rem; }
nav a { display: inline-block; margin-right: .9rem; color: var(--accent); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: 1.1rem 1.25rem; margin: 1rem 0;
}
p, li { max-width: 46rem; }
p { margin: .5rem 0; }
ul { margin: .75rem 0; padding-left: 1.2rem; color: var(--soft); font-size: .9rem; }
pre { background: var(--tint); border-radius: .4rem; padding: .5rem .75rem;
  white-space: pre-wrap; font-size: .85rem; }
summary { padding: .5rem 0; color: var(--accent); cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
figure { margin: .75rem 0 0; }
img { display: block; width: 100%; max-width: 54rem; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { text-align: left; padding: .4rem .9rem .4rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
tbody th { color: var(--ink); min-width: 5.5rem; max-width: 16rem; }
th, td { overflow-wrap: break-word; }
td { max-width: 24rem; }
.number { text-align: right; white-space: nowrap; }
th.number { white-space: normal; }
td small { display: block; color: var(--soft); white-space: nowrap; }
.absent { color: var(--soft); font-style: italic; white-space: normal; }
.reference th, .reference td { background: var(--tint); color: var(--soft); }
@media (max-width: 40rem) {
  body { padding: .75rem .6rem 3rem; }
  section { padding: .9rem .8rem; }
  tbody th { position: sticky; left: 0; background: var(--card);
    padding-right: .6rem; max-width: 9rem; }
  .reference th { background: var(--tint); }
}
"""


def render_page(title: str, sections: list[Section]) -> str:
    """Renders a report as HTML, with embedded figures and all text escaped.

    Args:
        title: heading of the report.
        sections: its sections.
    """
    anchors = {s.title: re.sub(r"\W+", "-", s.title.lower()) for s in sections}
    links = "".join(
        f'<a href="#{anchor}">{html.escape(name)}</a>'
        for name, anchor in anchors.items()
    )
    body = "".join(
        f'<section id="{anchors[section.title]}"><h2>{html.escape(section.title)}</h2>'
        f"{''.join(_render(block) for block in section.blocks)}</section>\n"
        for section in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1><nav>{links}</nav></header>
<main>{body}</main>
</body>
</html>
"""


def _render(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Points(items):
            return f"<ul>{''.join(f'<li>{html.escape(i)}</li>' for i in items)}</ul>"
        case Command(line):
            return f"<pre>{html.escape(line)}</pre>"
        case Figure():
            return _render_figure(block)
        case Table():
            return _render_table(block)
        case Details(title, blocks):
            inside = "".join(_render(inner) for inner in blocks)
            return f"<details><summary>{html.escape(title)}</summary>{inside}</details>"
    raise ValueError(f"block must be a block of a report. Received: {block!r}")


def _render_figure(figure: Figure) -> str:
    caption = html.escape(figure.caption)
    return (
        '<figure><picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{_data_url(figure.dark)}">'
        f'<img alt="{caption}" src="{_data_url(figure.light)}"></picture>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _render_table(table: Table) -> str:
    marks = [
        "" if index < table.num_text_columns else ' class="number"'
        for index in range(len(table.header))
    ]
    head = "".join(
        f'<th scope="col"{mark}>{html.escape(cell)}</th>'
        for mark, cell in zip(marks, table.header, strict=True)
    )
    first_reference = len(table.rows) - table.num_reference_rows
    body = []
    for index, row in enumerate(table.rows):
        cells = "".join(
            f"<td{mark}>{_render_cell(cell, not mark)}</td>"
            for mark, cell in zip(marks[1:], row[1:], strict=True)
        )
        mark = ' class="reference"' if index >= first_reference else ""
        body.append(f'<tr{mark}><th scope="row">{html.escape(row[0])}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _render_cell(text: str, is_words: bool) -> str:
    if text.startswith(("not measured", "not stated", "not comparable")):
        return f'<span class="absent">{html.escape(text)}</span>'
    value, bracket, interval = text.partition(" [")
    if is_words or not bracket:
        return html.escape(text)
    return f"{html.escape(value)}<small>[{html.escape(interval)}</small>"
