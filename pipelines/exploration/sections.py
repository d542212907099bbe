"""The sections of the page: functions from a summary to HTML."""

import html
import pathlib
from collections.abc import Mapping

from pipelines.exploration import markup

Plots = Mapping[str, pathlib.Path]
COLUMN_TITLES = {
    "sizes": "image size, pixels",
    "samplers": "sampler",
    "cfg": "guidance scale (cfg)",
    "step": "denoising steps",
}
_FILE_LABELS = {
    "files": "files",
    "not_square": "not square",
    "unreadable": "unreadable",
    "rows_without_image": "rows without an image",
    "images_without_row": "images without a row",
    "other_size": "of another size than the metadata says",
}
_ABSENT = '<p class="absent">Not in this source.</p>'


def render_filters(summary: dict, plots: Plots) -> str:
    """Renders what each filter drops, and how they overlap."""
    rows = [
        (
            name.replace("_", " "),
            drop["rule"],
            drop["state"],
            *(drop[key] for key in ("rows", "first", "only")),
        )
        for name, drop in summary["filters"].items()
    ]
    header = ("filter", "drops if", "state", "drops", "counted first", "only by it")
    pairs = [
        (*(name.replace("_", " ") for name in pair["filters"]), pair["rows"])
        for pair in summary["overlaps"]["pairs"]
    ]
    kept, title = summary["rows"], f"Overlap of the {len(rows)} filters"
    return (
        "<p>A row may break several rules. <em>Counted first</em> is how "
        "<code>write_records</code> counts it: by the first rule that it breaks.</p>"
        + markup.table(header, rows)
        + f"<p>Kept: {kept['after']:,} of {kept['before']:,}.</p>"
        + markup.figure("filters", plots, title)
        + markup.details(
            "Dropped by both", markup.table(("filter", "and", "rows"), pairs)
        )
    )


def render_prompts(prompts: dict) -> str:
    """Renders distinct prompts and duplicates."""
    duplicates = prompts["duplicates"]
    counts = [
        ("distinct prompts, as written", prompts["raw"]),
        ("distinct prompts, normalised", prompts["normalised"]),
        ("images whose prompt has no word", prompts["without_words"]),
        ("prompts of several images", duplicates["groups"]),
        ("images that share a prompt", duplicates["images"]),
    ]
    rows = [(label, *markup.both(pair)) for label, pair in counts]
    biggest = [
        (e["prompt"], e["spellings"], e["before"], e["after"])
        for e in duplicates["biggest"]
    ]
    text = (
        "<p>Normalised: the words that a model learns, in lower case, without tokens "
        "that have a digit or no letter, and cut.</p>"
    )
    text += markup.table(("", "all", "kept"), rows)
    if biggest:
        text += "<h3>Prompts with most images</h3>"
        text += markup.table(("prompt", "spellings", "all", "kept"), biggest)
    return text


def render_syntax(syntax: dict) -> str:
    """Renders the syntax for programs in prompts."""
    if not syntax["kinds"]:
        return "<p>None found.</p>"
    before, after = markup.both(syntax["images"])
    return (
        f"<p>{before:,} images, {after:,} of them kept, have prompts with syntax of "
        "A1111's web interface, Civitai or Midjourney. It addresses a program and does "
        "not describe the picture, but a model learns to write its words.</p>"
        + markup.list_values(syntax["kinds"], "such as")
    )


def render_lengths(lengths: dict, plots: Plots) -> str:
    """Renders the histogram of lengths and the cut."""
    rows = [
        (f"longer than {lengths['max_words']} words", *markup.both(lengths["cut"])),
        ("mean, words", *markup.both(lengths["mean"])),
        ("median, words", *markup.both(lengths["median"])),
    ]
    return (
        markup.figure("lengths", plots, "Histogram of prompt lengths in words")
        + markup.table(("", "all", "kept"), rows)
        + markup.details("All lengths", markup.list_values(lengths["images"], "words"))
    )


def render_categories(summary: dict, plots: Plots) -> str:
    """Renders subjects, media and artists."""
    text = (
        "<p>By English keywords of the prompt, which are listed in "
        "<code>pipelines/exploration/categories.py</code> and "
        "<code>tf_prompt/data/keywords.py</code>. An image counts in every category of "
        "which it has a word: a rough guide, not a classifier.</p>"
    )
    artists = (
        "<p>What follows “by” or “style of”, up to the next comma. It may not be an "
        "artist (“by night”), and names after a comma are not found.</p>"
    )
    for title, name, note in (
        ("Subjects", "subjects", ""),
        ("Media", "media", ""),
        ("Artists", "artists", artists),
    ):
        text += f"<h3>{title}</h3>{note}"
        if not summary[name]:
            text += "<p>None found.</p>"
            continue
        text += markup.figure(name, plots, f"{title}, by images")
        text += markup.details(
            "Numbers", markup.list_values(summary[name], title.lower())
        )
    return text


def render_words(summary: dict, plots: Plots) -> str:
    """Renders frequent words and scripts."""
    words = summary["words"]
    before, after = markup.both(words["distinct"])
    return (
        f"<p>{before:,} distinct words, {after:,} of them in kept rows. The plot "
        "leaves out function words such as “a” and “of”.</p>"
        + markup.figure("words", plots, "Most frequent words, by images")
        + markup.details("Numbers, all words", markup.list_values(words["top"], "word"))
        + "<h3>Scripts</h3><p>The script of most letters of a prompt. It does not "
        "determine the language: English and Polish are both Latin.</p>"
        + markup.list_values(summary["scripts"], "script")
    )


def render_sizes(summary: dict, plots: Plots) -> str:
    """Renders sizes of images in the metadata and in the files."""
    text = "<h3>In the metadata</h3>"
    if summary["sizes"]:
        before, _ = markup.both(summary["sizes"]["distinct"])
        text += f"<p>{before:,} distinct sizes.</p>"
        text += markup.figure("sizes", plots, "Most frequent image sizes")
        text += markup.details(
            "Numbers", markup.list_values(summary["sizes"]["top"], "width x height")
        )
    else:
        text += _ABSENT
    text += "<h3>In the image files</h3>"
    images = summary["images"]
    if images is None:
        return text + '<p class="absent">Not read: add <code>--images</code>.</p>'
    rows = [(label, images[name]) for name, label in _FILE_LABELS.items()]
    text += markup.figure("files", plots, "Most frequent sizes of the files")
    rows += [(f"format {e['value']}", e["images"]) for e in images["formats"]]
    text += markup.table(("", "images"), rows)
    if images["unreadable_examples"]:
        examples = html.escape(", ".join(images["unreadable_examples"]))
        text += f"<p>Unreadable: {examples}</p>"
    return text


def render_settings(summary: dict, plots: Plots) -> str:
    """Renders samplers, guidance, steps, days and seeds."""
    text = ""
    for name in ("samplers", "cfg", "step"):
        title = COLUMN_TITLES[name]
        text += f"<h3>{title.capitalize()}</h3>"
        if summary[name] is None:
            text += _ABSENT
            continue
        text += markup.figure(name, plots, f"Most frequent values of {name}")
        text += markup.details(
            "Numbers", markup.list_values(summary[name]["top"], title)
        )
    text += "<h3>Days</h3>"
    per_day = markup.figure("days", plots, "Images per day")
    text += per_day or _ABSENT
    text += "<h3>Seeds</h3>"
    if summary["seeds"] is None:
        return text + _ABSENT
    before, after = markup.both(summary["seeds"])
    return text + f"<p>{before:,} distinct seeds, {after:,} in kept rows.</p>"
