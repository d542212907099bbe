"""Whether a part of the true prompt, such as the artist, is among the first guesses."""

import collections
import itertools
import re
from collections.abc import Iterable, Sequence

import numpy as np

from tf_prompt.evaluation.prediction_log import families_of
from tf_prompt.inference.model import PromptModel
from tf_prompt.metrics.score import summarise

RANKS = (1, 5)
# Prompts per image, each of which needs a beam, and training images per image.
_PROMPTS, _NEIGHBOURS = 10, 100


def measure(
    pattern: str, rows: Sequence[dict], batches: Iterable[dict], model, training
) -> dict:
    """Counts how often a true prompt's label is the first guess, or among the first 5.

    The label of a prompt is the match of the pattern, or its group if it has one. Only
    examples whose label occurs in training prompts count. The guesses of a model are
    the labels of its best prompts. Those of the baselines are the labels of the nearest
    training images, and the most common labels.

    Args:
        pattern: regular expression, such as `by (.+)$`.
        rows: rows of an evaluation.
        batches: the same examples, in order, from `Examples.batches`.
        model: a `PromptModel` that writes prompts.
        training: object with `prompts` of the training split and `index` of its images.

    Returns:
        dict of `examples`, the number that count; `labels`, the number of labels in
        the training split; and for each writer `top_1` and `top_5` in per cent, as
        entries of `metrics.json`.
    """
    find = re.compile(pattern)
    known = [_label(find, prompt) for prompt in training.prompts]
    counts = collections.Counter(filter(None, known))
    true = [_label(find, row["reference"]) for row in rows]
    kept = [i for i, label in enumerate(true) if label in counts]
    result = {"examples": len(kept), "labels": len(counts)}
    if not kept:
        return result
    common = [label for label, _ in counts.most_common(max(RANKS))]
    guesses: dict[str, list] = {"model": [], "nearest_neighbour": []}
    for batch in batches:
        for prompts in model.write_best(batch["image"], _PROMPTS):
            guesses["model"].append(_first(_label(find, text) for text, _ in prompts))
        nearest = _nearest(model, training.index, batch["image"])
        guesses["nearest_neighbour"] += [_first(known[i] for i in r) for r in nearest]
    guesses["commonest"] = [common] * len(rows)
    families = families_of(rows)
    families = families and [families[i] for i in kept]
    for name, found in guesses.items():
        result[name] = {}
        for rank in RANKS:
            hits = np.array([100.0 * (true[i] in found[i][:rank]) for i in kept])
            result[name][f"top_{rank}"] = summarise(
                hits, f"top-{rank} accuracy", families=families
            )
    return result


def _label(find: re.Pattern, prompt: str) -> str:
    found = find.search(prompt)
    return found[found.re.groups and 1] or "" if found else ""


def _first(labels: Iterable[str]) -> list[str]:
    """Returns the first distinct labels, as many as the highest rank needs."""
    return list(itertools.islice(dict.fromkeys(filter(None, labels)), max(RANKS)))


def _nearest(model: PromptModel, index, images) -> np.ndarray:
    queries = model.features(model.open(images)).numpy()
    return index.search(queries, min(_NEIGHBOURS, len(index.features)))[0]


def format_table(found: dict) -> str:
    """Formats the results of `measure` as a table beside chance."""
    if not found["examples"]:
        return "recognition: no true prompt has a label of the training prompts"
    labels = found["labels"]
    lines = [
        f"labels of {found['examples']} prompts among {labels} of the training split, "
        "per cent:"
    ]
    lines.append(f"{'':20}" + "".join(f"{f'top {rank}':>24}" for rank in RANKS))
    for name, scores in found.items():
        if isinstance(scores, dict):
            lines.append(f"{name:20}" + "".join(map(_cell, scores.values())))
    chance = (f"{100 * min(rank / labels, 1):.2f}" for rank in RANKS)
    lines.append(f"{'chance':20}" + "".join(f"{number:>24}" for number in chance))
    return "\n".join(lines)


def _cell(value: dict) -> str:
    text = f"{value['score']:.2f}"
    if value["low"] is not None:
        text += f" [{value['low']:.2f}, {value['high']:.2f}]"
    return f"{text:>24}"
