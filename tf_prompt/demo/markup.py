"""HTML of the page's results; every text in it is escaped."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from tf_prompt.demo.batch_files import BatchRow
from tf_prompt.demo.writers import Written
from tf_prompt.inference.model import Scored

_COSINE, _SIMILARITY = "cosine", "similarity by CLIP"
_EMPTY = "(no word)"


def error(message: str) -> str:
    """Shows an error message; screen readers read it at once."""
    return f'<p class="tfp-error" role="alert">{escape(message)}</p>'


def hint(message: str) -> str:
    """Shows a hint in place of results."""
    return f'<p class="tfp-hint">{escape(message)}</p>'


def written(result: Written) -> str:
    """Shows a model's results for an image."""
    if result.phrases:
        # A single prompt is already shown above; only its score is new.
        ((_, score),) = result.prompts
        name = result.score_name[:1].upper() + result.score_name[1:]
        parts = [hint(f"{name}: {score:.3f}"), phrases(result.phrases)]
    else:
        name = result.score_name
        parts = [_scored("Prompts", result.prompts, name, numbered=True)]
    if result.words:
        parts.append(_attention(result.words))
    if result.neighbours:
        title = f"Nearest {result.bank_name}"
        parts.append(_scored(title, result.neighbours, _COSINE))
    return f'<div class="tfp">{"".join(parts)}</div>'


def embedded(said: Mapping) -> str:
    """Shows how a file was generated, see `data.embedded.Embedded`."""
    items = "".join(
        f"<dt>{escape(name.replace('_', ' ').capitalize())}</dt>"
        f"<dd>{escape(str(value))}</dd>"
        for name, value in said.items()
        if value is not None
    )
    return (
        '<div class="tfp"><section class="tfp-said"><h3>The file itself says '
        f"<small>no model has seen it</small></h3><dl>{items}</dl></section></div>"
    )


def phrases(tables: Mapping[str, Sequence[Scored]]) -> str:
    """Shows an interrogator's ranked phrases, one list per table."""
    lists = "".join(
        _scored(name.replace("_", " ").capitalize(), pairs, _SIMILARITY)
        for name, pairs in tables.items()
    )
    return f'<div class="tfp tfp-tables">{lists}</div>'


def batch(rows: Sequence[BatchRow], names: Sequence[str], total: int) -> str:
    """Shows a batch so far: one row per file, one column per model.

    Args:
        rows: the finished rows.
        names: names of the models.
        total: number of files in the batch.
    """
    num_bad = sum(row.error is not None for row in rows)
    state = f"{len(rows)} of {total} files"
    if num_bad:
        state += f", {num_bad} not read"
    told = [_said(row) for row in rows]
    columns = [*names, *["The file itself says"] * any(told)]
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = "".join(_batch_row(row, names, len(columns)) for row in rows)
    return (
        f'<div class="tfp"><p role="status">{state}</p><table class="tfp-batch">'
        f'<thead><tr><th scope="col">File</th>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _said(row):
    return row.results[0].get("embedded", {}).get("prompt", "") if row.results else ""


def _batch_row(row, names, num_columns):
    name = f'<th scope="row">{escape(row.name)}</th>'
    if row.error is not None:
        cell = f'<td class="tfp-bad" colspan="{num_columns}">{escape(row.error)}</td>'
        return f"<tr>{name}{cell}</tr>"
    cells = "".join(
        # On a phone, where cells are stacked, the model's name is shown in the cell.
        f'<td data-model="{escape(model)}">{_batch_cell(result)}</td>'
        for model, result in zip(names, row.results, strict=True)
    )
    if num_columns > len(names):
        cells += f'<td data-model="the file itself">{escape(_said(row))}</td>'
    return f"<tr>{name}{cells}</tr>"


def _batch_cell(result):
    score = result.get("score", result.get("similarity"))
    text = escape(result["prompt"] or _EMPTY)
    return f'{text} <span class="tfp-score">{score:.3f}</span>'


def _scored(title, pairs, score_name, numbered=False):
    kind = "ol" if numbered else "ul"
    items = "".join(
        f"<li><span>{escape(text or _EMPTY)}</span>"
        f'<span class="tfp-score">{score:.3f}</span></li>'
        for text, score in pairs
    )
    return (
        f"<section><h3>{escape(title)} <small>{escape(score_name)}</small></h3>"
        f'<{kind} class="tfp-list">{items}</{kind}></section>'
    )


def _attention(words):
    figures = "".join(
        f'<figure><img src="data:image/webp;base64,{base64.b64encode(view).decode()}" '
        f'alt="where the model looked for {escape(word)}" width="128" height="128">'
        f"<figcaption>{escape(word)}</figcaption></figure>"
        for word, view in words
    )
    return (
        "<section><h3>Attention <small>bright where the model looked for the word"
        f'</small></h3><div class="tfp-words">{figures}</div></section>'
    )
