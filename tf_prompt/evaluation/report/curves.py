"""Loss curves of several runs in one figure."""

import io
import math
from collections.abc import Sequence

import matplotlib.figure
import matplotlib.lines
import matplotlib.ticker

from tf_prompt.evaluation.report.runs import Run

# Okabe and Ito: safe for the colour-blind, on dark pages too; no black, no yellow.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = "osD^vP"
_LIGHT = {"ground": "#ffffff", "ink": "#1d2733", "line": "#dfe3e8"}
_DARK = {"ground": "#1b222a", "ink": "#e6eaee", "line": "#313b46"}
# Above this ratio of the largest to the smallest loss, small ones would look flat.
_LOG_RATIO = 5


def draw_curves(runs: Sequence[Run], dark: bool = False) -> bytes | None:
    """Plots training and validation loss of all runs over epochs.

    Args:
        runs: the runs; those without a history are left out.
        dark: whether the figure is for a dark page.

    Returns:
        The bytes of a PNG, or None if no run has a history.
    """
    drawn = [run for run in runs if run.history]
    if not drawn:
        return None
    colours = _DARK if dark else _LIGHT
    figure = matplotlib.figure.Figure(
        figsize=(9, 4.8), layout="constrained", facecolor=colours["ground"]
    )
    axis = figure.subplots()
    for index, run in enumerate(drawn):
        _draw_run(axis, run, index, colours)
    _style(axis, drawn, colours)
    figure.legend(
        handles=_legend_of(drawn, colours),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        labelcolor=colours["ink"],
    )
    png = io.BytesIO()
    figure.savefig(png, dpi=140, format="png")
    return png.getvalue()


def _draw_run(axis, run: Run, index: int, colours: dict) -> None:
    colour = _COLOURS[index % len(_COLOURS)]
    epochs = [row["epoch"] for row in run.history]
    losses = [row["loss"] for row in run.history]
    axis.plot(epochs, losses, "--", color=colour, linewidth=1.1, alpha=0.75)
    if run.best_epoch is None:
        return
    losses = [row["val_loss"] for row in run.history]
    marker = _MARKERS[index // len(_COLOURS) % len(_MARKERS)]
    axis.plot(epochs, losses, "-", color=colour, linewidth=2)
    axis.plot(
        [run.best_epoch["epoch"]],
        [run.best_epoch["val_loss"]],
        marker,
        color=colour,
        markersize=10,
        markeredgecolor=colours["ink"],
        markeredgewidth=1.5,
    )


def _style(axis, runs: Sequence[Run], colours: dict) -> None:
    losses = [
        row[name]
        for run in runs
        for row in run.history
        for name in ("loss", "val_loss")
        if math.isfinite(row.get(name, math.nan)) and row[name] > 0
    ]
    if losses and max(losses) > _LOG_RATIO * min(losses):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_facecolor(colours["ground"])
    axis.set_xlabel("epoch", color=colours["ink"])
    axis.set_ylabel("loss, nats per token", color=colours["ink"])
    axis.tick_params(colors=colours["ink"], which="both", length=0)
    axis.grid(color=colours["line"])
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colours["line"])


def _legend_of(runs: Sequence[Run], colours: dict) -> list:
    def line(label, **style):
        # matplotlib reads a dollar sign as the start of a formula,
        label = label.replace("$", r"\$")
        # and leaves labels that start with an underscore out of legends.
        label = f" {label}" if label.startswith("_") else label
        return matplotlib.lines.Line2D([], [], label=label, **style)

    entries = []
    for index, run in enumerate(runs):
        best = run.best_epoch
        chosen = f", epoch {best['epoch']} chosen" if best else ""
        style = {
            "color": _COLOURS[index % len(_COLOURS)],
            "marker": _MARKERS[index // len(_COLOURS) % len(_MARKERS)],
        }
        entries.append(line(f"{run.name}{chosen}", linewidth=2, **style))
    ink = colours["ink"]
    entries.append(line("validation", color=ink, linewidth=2))
    entries.append(line("training", color=ink, linestyle="--", linewidth=1.1))
    return entries
