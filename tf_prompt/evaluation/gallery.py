"""An HTML page that shows images with their true and their predicted prompts."""

import base64
import dataclasses
import hashlib
import html
import itertools
import json
import math
import pathlib
import string
from collections.abc import Mapping, Sequence

from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from tf_prompt.files import replacing
from tf_prompt.inference.attention import LOOK_SIZE
from tf_prompt.metrics.overlap import align_words

LABELS = {
    "word_f1": "word F1",
    "sentence_bleu": "sentence BLEU",
    "score": "own score",
}
# Whatever a prompt contains, the policy allows no loading, and no script but ours. The
# form stays hidden until the script shows it.
_PAGE_START = string.Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
img-src data:; style-src '$style_hash'; script-src '$script_hash'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1 dir="auto">$title</h1>
<p>$legend Word F1 and sentence BLEU go up to 100; a model’s own score is its mean \
log-probability of a word, 0 at best.</p>
$note</header>
<div class="bar">
<form hidden>
<label class="filter">Filter<input type="search" name="filter" \
placeholder="Words in any prompt" autocomplete="off"></label>
<label>Sort by<select name="sort"><option value="">data order</option>\
$options</select></label>
<label>Order<select name="order"><option value="ascending">lowest first</option>\
<option value="descending">highest first</option></select></label>
$only</form>
<p class="count" role="status">$count images</p>
</div>
<main>
""")
_PAGE_END = string.Template("</main>\n<script>$script</script>\n</body>\n</html>\n")
_CARD = string.Template("""\
<article data-scores="$values">
<figure><img src="data:image/jpeg;base64,$image" alt="Image $image_id" \
width="224" height="224" loading="lazy" decoding="async">\
<figcaption><bdi>$image_id</bdi></figcaption></figure>
<div class="words">
<h2>True prompt</h2>
$reference
$predictions</div>
$attention</article>
""")
_ONLY = (
    '<label class="only"><input type="checkbox" name="only">Only images that show '
    "where the model looked</label>\n"
)
# The list is styled as a grid, which hides its role from screen readers: state it.
_LOOKS = string.Template("""\
<details>
<summary>Where <bdi>$who</bdi> looked</summary>
<ol role="list">
$items</ol>
</details>
""")
_LOOK = string.Template("""\
<li><img src="data:image/webp;base64,$image" alt="Where it looked for “$word”" \
width="$size" height="$size" loading="lazy" decoding="async">\
<span dir="auto">$word</span></li>
""")
_LEGEND = "Words in common are <mark>underlined</mark> in both prompts."
_LEGEND_OF_SEVERAL = (
    "A model’s word is <mark>underlined</mark> if the true prompt holds it, "
    "a true word if any model wrote it."
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image of the gallery.

    Args:
        image: bytes of a JPEG of at most 224×224 pixels.
        image_id: name of the image.
        reference: true prompt.
        predictions: prompt of each model, by the model's name.
        scores: scores of each model's prompt, by the names of model and metric.
        attention: by the model's name, one WebP per word of its prompt, from
            `inference.attention.draw_words`; models without attention have none.
    """

    image: bytes
    image_id: str
    reference: str
    predictions: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]]
    attention: Mapping[str, Sequence[bytes]] = dataclasses.field(default_factory=dict)


def per_example_scores(rows: Sequence[Mapping]) -> list[dict[str, float]]:
    """Scores examples one by one, for ranking; a corpus score is not their mean.

    Args:
        rows: mappings with `reference`, `prediction` and `score`.

    Returns:
        list of one dict per row: `word_f1` and `sentence_bleu` in 0–100, and the
        row's `score`. BLEU adds one to the counts of 2-grams and longer n-grams; for
        predictions of n < 4 words it stops at n-grams.

    Reference: Lin and Och, 2004, https://aclanthology.org/C04-1072.
    """
    smoothing = SmoothingFunction().method2
    scores = []
    for row in rows:
        reference, prediction = row["reference"], row["prediction"]
        bleu = sentence_bleu(
            [reference.split()],
            prediction.split(),
            smoothing_function=smoothing,
            auto_reweigh=True,
        )
        scores.append(
            {
                "word_f1": align_words(reference, prediction).f1,
                "sentence_bleu": 100 * float(bleu),
                "score": float(row["score"]),
            }
        )
    return scores


def entries_of(
    rows: Mapping[str, Sequence[Mapping]],
    images: Mapping[str, bytes],
    attention: Mapping[str, Mapping[str, Sequence[bytes]]] | None = None,
) -> list[Entry]:
    """Combines images with the rows of one or several models.

    Args:
        rows: by the model's name, the rows that `evaluator.evaluate_run` returned.
        images: JPEG bytes by `image_id`; rows of other images are left out, so that
            a gallery may show part of a split.
        attention: by the model's name and by `image_id`, as in `Entry`.

    Returns:
        list of one `Entry` per image, in the order of `images`.

    Raises:
        ValueError: if there is no model, or a model has no row for an image.
    """
    if not rows:
        raise ValueError("rows must hold at least one model. Received: none")
    tables = {}
    for model, all_rows in rows.items():
        found = {r["image_id"]: r for r in all_rows if r["image_id"] in images}
        missing = [image_id for image_id in images if image_id not in found]
        if missing:
            raise ValueError(
                f"rows of {model} must hold every image. Received: no row of "
                f"{missing[0]}, {len(missing)} missing in all"
            )
        chosen = [found[image_id] for image_id in images]
        tables[model] = list(zip(chosen, per_example_scores(chosen), strict=True))
    return [
        _join(
            image_id,
            image,
            {model: table[i] for model, table in tables.items()},
            {
                model: looks[image_id]
                for model, looks in (attention or {}).items()
                if image_id in looks
            },
        )
        for i, (image_id, image) in enumerate(images.items())
    ]


def _join(image_id, image, found, attention) -> Entry:
    references = {row["reference"] for row, _ in found.values()}
    if len(references) > 1:
        raise ValueError(
            f"the models' rows of {image_id} must have one reference. "
            f"Received: {sorted(references)}"
        )
    predictions = {model: row["prediction"] for model, (row, _) in found.items()}
    scores = {model: values for model, (_, values) in found.items()}
    return Entry(image, image_id, references.pop(), predictions, scores, attention)


def write_gallery(
    path: str | pathlib.Path, entries: Sequence[Entry], title: str, note: str = ""
) -> None:
    """Writes a self-contained page.

    The reader can sort by every score and filter by words; without JavaScript all
    images are shown in the order of `entries`.

    Args:
        path: file to write, atomically.
        entries: images to show; browsers handle 500 well.
        title: heading of the page.
        note: a line below the heading.
    """
    keys = _score_keys(entries)
    style, script = _read_asset("gallery.css"), _read_asset("gallery.js")
    start = _PAGE_START.substitute(
        title=html.escape(title),
        style=style,
        style_hash=_hash(style),
        script_hash=_hash(script),
        legend=_LEGEND_OF_SEVERAL if _has_several_models(entries) else _LEGEND,
        note=f"<p>{html.escape(note)}</p>\n" if note else "",
        options=_format_options(keys),
        only=_ONLY if any(entry.attention for entry in entries) else "",
        count=len(entries),
    )
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="\n", encoding="utf-8") as file,
    ):
        file.write(start)
        file.writelines(_format_card(entry, keys) for entry in entries)
        file.write(_PAGE_END.substitute(script=script))


def _read_asset(name: str) -> str:
    return pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _score_keys(entries) -> list[tuple[str, str]]:
    """Model and metric of each score, in order of first occurrence."""
    keys = (
        (model, metric)
        for entry in entries
        for model, scores in entry.scores.items()
        for metric in scores
    )
    return list(dict.fromkeys(keys))


def _has_several_models(entries) -> bool:
    return len({model for entry in entries for model in entry.predictions}) > 1


def _format_options(keys) -> str:
    several = len({model for model, _ in keys}) > 1
    options = []
    for i, (model, metric) in enumerate(keys):
        label = LABELS.get(metric, metric)
        text = html.escape(f"{model}: {label}" if several else label)
        options.append(f'<option value="{i}">{text}</option>')
    return "".join(options)


def _format_card(entry: Entry, keys) -> str:
    overlaps = {
        model: align_words(entry.reference, prompt)
        for model, prompt in entry.predictions.items()
    }
    found = [overlap.reference_flags for overlap in overlaps.values()]
    values = [
        _finite(entry.scores.get(model, {}).get(metric)) for model, metric in keys
    ]
    predictions = [
        f"<h2><bdi>{html.escape(model)}</bdi></h2>\n"
        f"{_format_prompt(overlap.prediction_words, overlap.prediction_flags)}\n"
        f"{_format_scores(entry.scores.get(model, {}))}"
        for model, overlap in overlaps.items()
    ]
    words = entry.reference.split()
    flags = [any(column) for column in zip(*found, strict=True)] or [False] * len(words)
    return _CARD.substitute(
        values=json.dumps(values),
        image=base64.b64encode(entry.image).decode(),
        image_id=html.escape(entry.image_id),
        reference=_format_prompt(words, flags),
        predictions="".join(predictions),
        attention=_format_attention(entry),
    )


def _format_attention(entry: Entry) -> str:
    """Lists each model's words below what it looked at; folded at first."""
    parts = []
    for model, looks in entry.attention.items():
        words = entry.predictions[model].split()
        items = (
            _LOOK.substitute(
                image=base64.b64encode(look).decode(),
                word=html.escape(word),
                size=LOOK_SIZE,
            )
            for word, look in zip(words, looks, strict=True)
        )
        who = html.escape(model) if len(entry.predictions) > 1 else "the model"
        parts.append(_LOOKS.substitute(who=who, items="".join(items)))
    return "".join(parts)


def _finite(value: float | None) -> float | None:
    # JSON has no NaN: the browser could not parse it.
    return round(value, 6) if value is not None and math.isfinite(value) else None


def _format_prompt(words, flags) -> str:
    """Marks each run of common words as one piece."""
    if not words:
        return '<p class="empty">no words</p>'
    runs = []
    pairs = zip(words, flags, strict=True)
    for flag, run in itertools.groupby(pairs, key=lambda pair: pair[1]):
        text = html.escape(" ".join(word for word, _ in run))
        runs.append(f"<mark>{text}</mark>" if flag else text)
    return f'<p class="prompt" dir="auto">{" ".join(runs)}</p>'


def _format_scores(scores: Mapping[str, float]) -> str:
    if not scores:
        return ""
    items = (
        f"<div><dt>{html.escape(LABELS.get(metric, metric))}</dt>"
        f"<dd>{_format_number(value)}</dd></div>"
        for metric, value in scores.items()
    )
    return f"<dl>{''.join(items)}</dl>\n"


def _format_number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−") if math.isfinite(value) else "–"
