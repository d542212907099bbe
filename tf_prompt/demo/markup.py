"""HTML of the page's results, with all text escaped."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from tf_prompt.demo.describing import BatchRow
from tf_prompt.demo.writers import Written
from tf_prompt.inference.model import Scored

_COSINE, _SIMILARITY = "cosine", "similarity by CLIP"
_EMPTY = "(no word)"


def error(message: str) -> str:
    """Shows an error message, which screen readers announce at once."""
    return f'<p class="tfp-error" role="alert">{escape(message)}</p>'


def hint(message: str) -> str:
    """Shows what to do while there is no result."""
    return f'<p class="tfp-hint">{escape(message)}</p>'


def written(result: Written) -> str:
    """Shows all results of a model for an image."""
    parts = [_scored("Prompts", result.prompts, result.score_name, numbered=True)]
    if result.words:
        parts.append(_attention(result.words))
    if result.neighbours:
        title = f"Nearest {result.bank_name}"
        parts.append(_scored(title, result.neighbours, _COSINE))
    return f'<div class="tfp">{"".join(parts)}</div>'


def phrases(tables: Mapping[str, Sequence[Scored]]) -> str:
    """Shows an interrogator's ranked phrases, one list per table."""
    lists = "".join(
        _scored(name.replace("_", " ").capitalize(), pairs, _SIMILARITY)
        for name, pairs in tables.items()
    )
    return f'<div class="tfp tfp-tables">{lists}</div>'


def batch(rows: Sequence[BatchRow], names: Sequence[str], total: int) -> str:
    """Shows the batch so far: one row per file, one column per model."""
    num_bad = sum(row.error is not None for row in rows)
    state = f"{len(rows)} of {total} files"
    if num_bad:
        state += f", {num_bad} not read"
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    lines = "".join(_batch_row(row, names) for row in rows)
    return (
        f'<div class="tfp"><p role="status">{state}</p><table class="tfp-batch">'
        f'<thead><tr><th scope="col">File</th>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _batch_row(row, names):
    name = f'<th scope="row">{escape(row.name)}</th>'
    if row.error is not None:
        cell = f'<td class="tfp-bad" colspan="{len(names)}">{escape(row.error)}</td>'
        return f"<tr>{name}{cell}</tr>"
    cells = "".join(
        # On phones, where cells are stacked, the model's name is shown in the cell.
        f'<td data-model="{escape(model)}">{escape(prompt or _EMPTY)} '
        f'<span class="tfp-score">{score:.3f}</span></td>'
        for model, (prompt, score) in zip(names, row.prompts, strict=True)
    )
    return f"<tr>{name}{cells}</tr>"


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
        "<section><h3>Attention <small>bright where the model looked for each word"
        f'</small></h3><div class="tfp-words">{figures}</div></section>'
    )
