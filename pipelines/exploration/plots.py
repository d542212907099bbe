"""Draws a summary as PNG files, in Okabe and Ito's colours for the colour-blind."""

import datetime
import pathlib
import warnings
from collections.abc import Sequence

import matplotlib.dates
import matplotlib.figure
import matplotlib.ticker

from pipelines.exploration.sections import COLUMN_TITLES
from tf_prompt.data.keywords import FUNCTION_WORDS
from tf_prompt.files import replacing

BEFORE_COLOUR, AFTER_COLOUR, MARK_COLOUR = "#56B4E9", "#0072B2", "#D55E00"
NAMES = (
    "filters",
    "lengths",
    "sizes",
    "files",
    "samplers",
    "cfg",
    "step",
    "days",
    "subjects",
    "media",
    "artists",
    "words",
)
_LISTED = 20
# Inches; narrow, so that labels are readable on a phone.
_WIDTH = 6
# Maximum number of characters of a bar's label.
_LONGEST_LABEL = 28
# Longer prompts share one last bar, because a few have hundreds of words.
_LONGEST_BAR = 100


def draw_plots(summary: dict, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Draws a summary; removes plots of an earlier run that have no data now.

    Args:
        summary: content of `summary.json`.
        folder: folder of the plots.

    Returns:
        dict from name to path of each plot, in the order of `NAMES`.
    """
    figures = {
        "filters": draw_overlaps(summary),
        "lengths": draw_lengths(summary["lengths"]),
        "days": _draw_days(summary["days"]),
        "words": draw_bars("word", content_words(summary["words"]["top"])),
        "subjects": draw_bars("subject", summary["subjects"]),
        "media": draw_bars("medium", summary["media"]),
        "artists": draw_bars("by, or in the style of", summary["artists"]),
        "files": None,
    }
    if summary["images"]:
        sizes = summary["images"]["sizes"]
        figures["files"] = draw_bars("size in the file, pixels", sizes)
    for name, title in COLUMN_TITLES.items():
        entries = summary[name]["top"] if summary[name] else []
        if name in ("cfg", "step"):
            entries = sorted(entries, key=lambda entry: float(entry["value"]))
        figures[name] = draw_bars(title, entries)
    paths = {}
    for name in NAMES:
        path = folder / f"{name}.png"
        if figures[name] is None:
            path.unlink(missing_ok=True)
            continue
        _save(figures[name], path)
        paths[name] = path
    return paths


def content_words(entries: Sequence[dict]) -> list[dict]:
    """Leaves out function words such as "a" and "of"."""
    return [entry for entry in entries if entry["value"] not in FUNCTION_WORDS]


def draw_bars(title: str, entries: Sequence[dict]) -> matplotlib.figure.Figure | None:
    """Draws a bar per value, with the kept images inside all images.

    Args:
        title: what the values are.
        entries: dicts of `value`, and `before` and `after` or `images`; the first
            `_LISTED` are drawn.

    Returns:
        The figure; None if there are no values.
    """
    entries = entries[:_LISTED]
    if not entries:
        return None
    size = (_WIDTH, 1.2 + 0.25 * len(entries))
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    positions = range(len(entries))
    if "images" in entries[0]:
        axis.barh(positions, [e["images"] for e in entries], color=AFTER_COLOUR)
    else:
        _draw_pairs(axis.barh, positions, entries)
        _add_legend(figure)
    axis.set_yticks(positions, [_shorten(entry["value"]) for entry in entries])
    for label in axis.get_yticklabels():
        # "$" in a prompt would begin a formula.
        label.set_parse_math(False)
    axis.set_ylim(len(entries) - 0.5, -0.5)
    axis.set_title(title, loc="left")
    _finish(axis, axis.xaxis, "images")
    return figure


def _draw_pairs(draw, positions, entries: Sequence[dict]) -> None:
    for name, colour, width, label in (
        ("before", BEFORE_COLOUR, 0.8, "all"),
        ("after", AFTER_COLOUR, 0.45, "kept"),
    ):
        counts = [entry[name] for entry in entries]
        draw(positions, counts, width, color=colour, label=label)


def _add_legend(figure: matplotlib.figure.Figure) -> None:
    # Outside, so that it covers no bar.
    figure.legend(loc="outside upper right", ncols=3, frameon=False)


def _shorten(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


def _finish(axis, count_axis, label: str) -> None:
    count_axis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
    count_axis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
    count_axis.grid(alpha=0.3)
    count_axis.set_label_text(label)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def draw_lengths(lengths: dict) -> matplotlib.figure.Figure:
    """Draws the histogram of prompt lengths, with the cut marked."""
    bars: dict[int, dict] = {}
    for entry in lengths["images"]:
        place = min(entry["value"], _LONGEST_BAR)
        bar = bars.setdefault(place, {"before": 0, "after": 0})
        for name in bar:
            bar[name] += entry[name]
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    _draw_pairs(axis.bar, list(bars), list(bars.values()))
    total = sum(entry["before"] for entry in lengths["images"])
    cut, share = lengths["max_words"], lengths["cut"]["before"] / total
    axis.axvline(
        cut + 0.5,
        color=MARK_COLOUR,
        linestyle="--",
        label=f"cut at {cut} words: {share:.1%} are longer",
    )
    note = f", the last bar {_LONGEST_BAR} and more" if _LONGEST_BAR in bars else ""
    axis.set_xlabel(f"words of the prompt{note}")
    axis.xaxis.get_major_locator().set_params(integer=True)
    _finish(axis, axis.yaxis, "images")
    _add_legend(figure)
    return figure


def draw_overlaps(summary: dict) -> matplotlib.figure.Figure | None:
    """Draws how filters overlap, as an UpSet plot; None if nothing is dropped."""
    exact, names = summary["overlaps"]["exact"], list(summary["filters"])
    if not exact:
        return None
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, 4), layout="constrained")
    top, dots = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    positions = range(len(exact))
    bars = top.bar(positions, [e["rows"] for e in exact], 0.6, color=AFTER_COLOUR)
    top.bar_label(bars, [f"{entry['rows']:,}" for entry in exact])
    top.margins(y=0.15)
    top.set_title("rows dropped by exactly these filters", loc="left")
    _finish(top, top.yaxis, "rows")
    top.tick_params(axis="x", length=0)
    for position, entry in enumerate(exact):
        used = [names.index(name) for name in entry["filters"]]
        dots.plot([position] * len(names), range(len(names)), "o", color="#d5d5d5")
        dots.plot([position] * len(used), used, "o-", color=AFTER_COLOUR)
    labels = [
        f"{name.replace('_', ' ')}  {summary['filters'][name]['rows']:,}"
        for name in names
    ]
    dots.set_yticks(range(len(names)), labels)
    dots.set_ylim(len(names) - 0.5, -0.5)
    dots.set_xlim(-0.6, max(len(exact), 4) - 0.4)
    dots.tick_params(length=0, labelbottom=False)
    dots.spines[:].set_visible(False)
    return figure


def _draw_days(days: dict | None) -> matplotlib.figure.Figure | None:
    if not days or not days["top"]:
        return None
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, 2.8), layout="constrained")
    axis = figure.subplots()
    dates = [datetime.date.fromisoformat(entry["value"]) for entry in days["top"]]
    _draw_pairs(axis.bar, dates, days["top"])
    locator = matplotlib.dates.AutoDateLocator(minticks=1, maxticks=5)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%d %b %Y"))
    margin = datetime.timedelta(days=3)
    axis.set_xlim(dates[0] - margin, dates[-1] + margin)
    _finish(axis, axis.yaxis, "images")
    _add_legend(figure)
    return figure


def _save(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
    with replacing(path, keep_ending=True) as temporary, warnings.catch_warnings():
        # Prompts are written in more scripts than matplotlib's font has.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(temporary, dpi=160)
