"""A run's history as a CSV table and as a plot."""

import csv
import math
import pathlib
from collections.abc import Sequence

import matplotlib.figure

from tf_prompt.files import replacing

# For each kind of model: the metric beside the loss, and the labels of both axes.
METRICS = {
    "token_accuracy": ("loss, nats per token", "token accuracy"),
    "accuracy": ("loss", "images matched with their own prompt in a batch, 0-1"),
    "pr_auc": ("loss", "area under precision over recall of the modifiers"),
    "cosine": ("loss", "cosine with the true prompt's embedding"),
}


def write_history(history: Sequence[dict], path: pathlib.Path) -> None:
    """Writes one line per epoch; the columns are those of the first row."""
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def best_epoch(history: Sequence[dict]) -> int:
    """Returns the index of the row with the lowest validation loss (first of ties)."""
    losses = [row["val_loss"] for row in history]
    return losses.index(min(losses, key=lambda v: math.inf if math.isnan(v) else v))


def plot_history(history: Sequence[dict], path: pathlib.Path) -> None:
    """Plots training and validation loss and metric over epochs, as a PNG."""
    epochs = [row["epoch"] for row in history]
    metric = next(name for name in METRICS if name in history[0])
    figure = matplotlib.figure.Figure(figsize=(10, 4), layout="constrained")
    for axis, name, label in zip(
        figure.subplots(1, 2),
        ("loss", metric),
        METRICS[metric],
        strict=True,
    ):
        axis.plot(epochs, [r[name] for r in history], ".-", label="training")
        axis.plot(epochs, [r[f"val_{name}"] for r in history], ".-", label="validation")
        chosen = history[best_epoch(history)]["epoch"]
        axis.axvline(chosen, color="grey", linestyle=":", label=f"best, epoch {chosen}")
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    with replacing(path, keep_ending=True) as temporary:
        figure.savefig(temporary, dpi=120)
